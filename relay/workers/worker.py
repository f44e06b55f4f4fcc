"""One worker: `python -m relay.workers.worker`, begun by a supervisor, which says over a channel what it is to do."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any

import uvloop

from relay import logs
from relay.app import App, running
from relay.errors import RelayError
from relay.lifetime import freeze
from relay.share import Share
from relay.telemetry import Telemetry
from relay.telemetry.sums import snapshot
from relay.workers.bells import DatagramBells
from relay.workers.channel import Applied, Apply, Begin, Channel, Failed, Look, Started, Stop, Told

log = logging.getLogger("relay")

_TELL_EVERY = 1.0
"""Seconds between reports that nobody asks for: what is counted after the last one dies with the worker."""
_FAILED = 1


class Worker:
    """A share of a relay, for as long as the supervisor wants it, and no longer than the supervisor lives."""

    def __init__(self, begin: Begin, channel: Channel, telemetry: Telemetry) -> None:
        self._begin = begin
        self._channel = channel
        self._telemetry = telemetry
        self._stopping = asyncio.Event()
        self._broken: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._applying = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._app: App
        self._up = asyncio.Event()

    async def run(self) -> int:
        """Do it, and say how it ended."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stopping.set)
        self._go_on(self._obey())
        bells = DatagramBells(
            socket.socket(fileno=self._begin.bell),
            {number: socket.socket(fileno=each) for number, each in self._begin.bells.items()},
            self._begin.lanes,
        )
        try:
            return await self._work(bells)
        except RelayError as error:
            self._channel.send(Failed(detail=str(error)))
            return _FAILED
        finally:
            bells.close()
            for task in self._tasks:
                task.cancel()

    async def _work(self, bells: DatagramBells) -> int:
        async with running(self._begin.config, telemetry=self._telemetry, share=self._share(bells)) as app:
            self._app = app
            self._up.set()
            freeze()
            self._channel.send(Started())
            self._go_on(self._tell_regularly())
            failure = await self._ended()
            if failure is not None:
                log.critical("relay.failed", extra={"detail": str(failure)})
                self._channel.send(Failed(detail=str(failure)))
        self._channel.send(await self._told(asked=False))
        return 0 if failure is None else _FAILED

    def _share(self, bells: DatagramBells) -> Share:
        begin = self._begin
        return Share(
            number=begin.number,
            workers=begin.workers,
            owner=begin.owner,
            lanes=begin.lanes,
            listen=begin.listen,
            bells=bells,
        )

    async def _ended(self) -> BaseException | None:
        """Wait until it is to end; why it has to, if nobody wants it."""
        waits: list[asyncio.Future[object]] = [
            asyncio.ensure_future(each) for each in (self._stopping.wait(), self._app.failed(), self._broken)
        ]
        done, late = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in late:
            each.cancel()
        result = next(iter(done)).result()
        return result if isinstance(result, BaseException) else None

    async def _obey(self) -> None:
        while (message := await self._channel.receive()) is not None:
            match message:
                case Stop():
                    self._stopping.set()
                case Look():
                    self._go_on(self._answer())
                case Apply():
                    self._go_on(self._apply(message))
        if not self._stopping.is_set():
            log.error("supervisor.gone")
        self._stopping.set()

    async def _apply(self, wanted: Apply) -> None:
        await self._up.wait()
        async with self._applying:
            try:
                await self._app.reload(wanted.config, lanes=wanted.lanes, applied=lambda: self._channel.send(Applied()))
            except Exception as error:  # the others have it: only one that begins with it can go on
                log.exception("config.reload_crashed")
                if not self._broken.done():
                    self._broken.set_result(error)

    async def _answer(self) -> None:
        await self._up.wait()
        self._channel.send(await self._told(asked=True))

    async def _tell_regularly(self) -> None:
        while True:
            await asyncio.sleep(_TELL_EVERY)
            if not self._channel.behind:
                self._channel.send(await self._told(asked=False))

    async def _told(self, *, asked: bool) -> Told:
        self._app.measure()
        readiness = await self._app.readiness()
        return Told(readiness=readiness, metrics=snapshot(self._telemetry.registry), asked=asked)

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def main() -> None:
    """Be a worker; the argument is the number of the file that is its end of the channel."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor reads the configuration for all
    code, written = uvloop.run(_serve(socket.socket(fileno=int(sys.argv[1]))))
    if not written:
        os._exit(code)  # an orderly exit would wait for whoever does not read our log
    raise SystemExit(code)


async def _serve(end: socket.socket) -> tuple[int, bool]:
    channel = await Channel.open(end)
    begin = await channel.receive()
    if not isinstance(begin, Begin):
        return 0, True  # the supervisor was gone before it had said anything
    telemetry = Telemetry()
    listener = logs.start(
        begin.log_style, begin.log_level, on_drop=telemetry.log_dropped, worker=begin.number, beside_others=True
    )
    code = _FAILED
    try:
        code = await Worker(begin, channel, telemetry).run()
        await channel.close()
    except Exception:
        log.exception("worker.crashed")
    return code, logs.stop(listener)


if __name__ == "__main__":
    main()
