"""A worker's place, whoever fills it: what it says, and how it is asked."""

from __future__ import annotations

import asyncio
import logging
import subprocess

from relay.admin import Readiness
from relay.telemetry.sums import Snapshot
from relay.workers.channel import Applied, Apply, Channel, Failed, Look, Started, Told

log = logging.getLogger("relay")

ANSWER = 1.0
"""Seconds within which a worker says how it goes."""
LOOK_EVERY = 2.0
MOST_SILENT = 5
"""So often it may stay silent when it is asked: about 15 s, in which its senders get no answer either."""
_APPLY = 10.0


class Place:
    """One worker's place, whoever fills it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.state = "starting"
        """`ok`, or what is the matter."""
        self.readiness: Readiness | None = None
        self.metrics: Snapshot = {}
        self.up = False
        self.proven = False
        """Whether one of those who filled it ever took webhooks in."""
        self.problem = ""
        """What the one who fills it said that it died of."""
        self.process: subprocess.Popen[bytes] | None = None
        self.channel: Channel | None = None
        self._answers: list[asyncio.Future[None]] = []
        self._applied: list[asyncio.Future[None]] = []

    def filled(self, process: subprocess.Popen[bytes], channel: Channel) -> None:
        """Somebody begins."""
        self.process, self.channel = process, channel
        self.state, self.problem, self.metrics, self.readiness = "starting", "", {}, None

    def emptied(self) -> None:
        """Nobody is here any more."""
        self.process = self.channel = self.readiness = None
        self.up, self.metrics = False, {}
        _release(self._answers)
        _release(self._applied)

    def heard(self, message: object) -> None:
        """The one who fills it says something."""
        match message:
            case Started():
                self.up = self.proven = True
                self.state = "ok"
            case Failed(detail=detail):
                self.problem = detail
            case Told(readiness=readiness, metrics=metrics, asked=asked):
                self.readiness, self.metrics = readiness, metrics
                if asked:
                    _release(self._answers)
            case Applied():
                _release(self._applied)

    async def look(self) -> bool:
        """Ask how it goes; whether it answered in time. One that is starting is not asked."""
        return not self.up or await self._ask(Look(), self._answers, ANSWER)

    async def hangs(self) -> None:
        """Return when it has been silent so long that nothing else is to be expected of it. One that is starting, or at
        work on something for a while, is not silent long enough."""
        silent = 0
        while silent < MOST_SILENT:
            await asyncio.sleep(LOOK_EVERY)
            silent = 0 if await self.look() else silent + 1

    async def apply(self, wanted: Apply) -> None:
        """Put a configuration in force there; returns once it is, or the worker is gone, or it takes too long."""
        if not await self._ask(wanted, self._applied, _APPLY):
            log.warning("worker.slow_to_apply", extra={"worker": self.number})

    async def _ask(self, message: Look | Apply, answers: list[asyncio.Future[None]], seconds: float) -> bool:
        if self.channel is None:
            return True
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answers.append(answer)
        self.channel.send(message)
        return bool((await asyncio.wait([answer], timeout=seconds))[0])


def _release(waiting: list[asyncio.Future[None]]) -> None:
    for each in waiting:
        if not each.done():
            each.set_result(None)
    waiting.clear()
