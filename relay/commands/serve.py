"""`relay serve`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from time import monotonic
from typing import Literal, TypeAlias

import click

from relay import __version__, logs
from relay.app import App, running
from relay.commands.output import FAILED, config_option, fail, load_config
from relay.errors import RelayError
from relay.lifetime import freeze
from relay.reloading import Reloader
from relay.telemetry import Telemetry
from relay.workers.supervisor import Supervisor, supervising

log = logging.getLogger("relay")

_SAME_WISH = 1.0


Relay: TypeAlias = AbstractAsyncContextManager[App] | AbstractAsyncContextManager[Supervisor]
"""One that runs inside an `async with`, in one process or in several."""


@click.command()
@config_option
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "text"]),
    default="auto",
    show_default=True,
    help="How log lines look; auto: text on a terminal, JSON elsewhere.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="What is logged.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    help="Processes that share the port and the store, for several cores; without it, gateway.workers.",
)
@click.option("--watch/--no-watch", default=True, show_default=True, help="Read the configuration when it changes.")
def serve(
    config_path: Path,
    log_format: Literal["auto", "json", "text"],
    log_level: str,
    workers: int | None,
    watch: bool,  # noqa: FBT001 - click calls it
) -> None:
    """Run the relay: take webhooks in, deliver them, answer monitoring.

    SIGTERM or SIGINT ends it in order; a second one ends it at once, and loses nothing either. A change of the
    configuration, or of a file that it takes a secret from, is in force within seconds; SIGHUP reads them at once.
    Sources, sinks, routes and secrets change without losing a request; a wrong file changes nothing.

    \b
    Examples:
      relay serve
      relay serve -c /etc/relay/relay.yaml --log-format json
    """
    config = load_config(config_path)
    fitting: Literal["json", "text"] = "text" if sys.stderr.isatty() else "json"
    telemetry = Telemetry()
    style = fitting if log_format == "auto" else log_format
    count = workers or config.gateway.workers
    listener = logs.start(style, log_level, on_drop=telemetry.log_dropped, beside_others=count > 1)
    relay: Relay = (
        running(config, telemetry=telemetry)
        if count == 1
        else supervising(config, workers=count, telemetry=telemetry, log_style=style, log_level=log_level)
    )
    written = True
    try:
        try:
            code = _run(relay, config_path, watch=watch)
        finally:
            written = logs.stop(listener)  # what was logged is written before anything else is said
    except RelayError as error:
        fail(error)
    if not written:
        os._exit(code)  # an orderly exit would wait for whoever does not read our log
    raise SystemExit(code)


def _run(relay: Relay, config_path: Path, *, watch: bool) -> int:
    import uvloop  # noqa: PLC0415 - only the server needs it, and the other commands start faster without

    return uvloop.run(_serve(relay, config_path, watch=watch))


async def _serve(relay: Relay, config_path: Path, *, watch: bool) -> int:
    loop = asyncio.get_running_loop()
    stop_signal = _StopSignal()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_signal)
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    async with relay as app:
        stop_signal.at_once = app.kill
        reloader = Reloader(app, config_path, os.environ, asked=asked, watch=watch)
        reloading = asyncio.create_task(reloader.run())
        freeze()
        where = {"gateway": str(app.gateway_address), "admin": str(app.admin_address)}
        log.info("relay.listening", extra={"version": __version__, **where, **app.about})
        stop = asyncio.create_task(stop_signal.given.wait())
        failed = asyncio.create_task(app.failed())
        await asyncio.wait({stop, failed}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        reloading.cancel()
        if failed.done():
            log.critical("relay.failed", extra={"detail": str(failed.result())})
            return FAILED
        failed.cancel()
        log.info("relay.stopping")
    log.info("relay.stopped")
    return 0


class _StopSignal:
    """The first signal asks; a later one ends. What was acknowledged is on disk, so ending at once loses nothing.

    One that follows within a second is the same wish: `timeout`, and a terminal with `make` in it, send theirs twice.
    """

    def __init__(self) -> None:
        self.given = asyncio.Event()
        self.at_once: Callable[[], None] = lambda: None
        """Ends the other processes that there are."""
        self._first = 0.0

    def __call__(self) -> None:
        if not self.given.is_set():
            self._first = monotonic()
            self.given.set()
        elif monotonic() - self._first > _SAME_WISH:
            self.at_once()
            os._exit(0)
