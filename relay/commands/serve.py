"""`relay serve`."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from time import monotonic
from typing import Literal

import click

from relay import __version__, logs
from relay.app import running
from relay.commands.output import FAILED, config_option, fail, load_config
from relay.config import Config
from relay.errors import RelayError
from relay.reloading import Reloader
from relay.telemetry import Telemetry

log = logging.getLogger("relay")

_SAME_WISH = 1.0
_GC_THRESHOLDS = (20_000, 20, 50)
"""What a request leaves behind is mostly freed by its counts; cycles are few, and may wait a little longer."""


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
@click.option("--watch/--no-watch", default=True, show_default=True, help="Read the configuration when it changes.")
def serve(
    config_path: Path,
    log_format: Literal["auto", "json", "text"],
    log_level: str,
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
    style: Literal["json", "text"] = "text" if sys.stderr.isatty() else "json"
    telemetry = Telemetry()
    listener = logs.start(style if log_format == "auto" else log_format, log_level, on_drop=telemetry.log_dropped)
    written = True
    try:
        try:
            code = _run(config, config_path, telemetry, watch=watch)
        finally:
            written = logs.stop(listener)  # what was logged is written before anything else is said
    except RelayError as error:
        fail(error)
    if not written:
        os._exit(code)  # an orderly exit would wait for whoever does not read our log
    raise SystemExit(code)


def _run(config: Config, config_path: Path, telemetry: Telemetry, *, watch: bool) -> int:
    import uvloop  # noqa: PLC0415 - only the server needs it, and the other commands start faster without

    return uvloop.run(_serve(config, config_path, telemetry, watch=watch))


async def _serve(config: Config, config_path: Path, telemetry: Telemetry, *, watch: bool) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    stop_signal = _StopSignal(stopping)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_signal)
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked.set)
    async with running(config, telemetry=telemetry) as app:
        reloader = Reloader(app, config_path, os.environ, asked=asked, watch=watch)
        reloading = asyncio.create_task(reloader.run())
        gc.collect()
        gc.freeze()  # what is there now stays: looking through all of it again and again is a tenth of each request
        gc.set_threshold(*_GC_THRESHOLDS)
        log.info(
            "relay.listening",
            extra={"version": __version__, "gateway": str(app.gateway_address), "admin": str(app.admin_address)},
        )
        stop = asyncio.create_task(stopping.wait())
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

    def __init__(self, stopping: asyncio.Event) -> None:
        self._stopping = stopping
        self._first = 0.0

    def __call__(self) -> None:
        if not self._stopping.is_set():
            self._first = monotonic()
            self._stopping.set()
        elif monotonic() - self._first > _SAME_WISH:
            os._exit(0)
