"""A relay that stands still for longer than its leases, while another one works on the same store.

What it learns when it wakes up is old: the store must not take it, or it would undo what the other one has done.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP
from typing import Any

import orjson
from aiohttp import web

from tests.crash.doomed import Plan
from tests.crash.history import Arrival, History, Sent, digest_of
from tests.crash.process import RelayProcess
from tests.crash.receiver import serving
from tests.crash.stored import Book, SqliteBook
from tests.running import payload, sender, until, write_config

EVENTS = 8
"""As many as the sink takes at one time: the relay that is frozen waits for its answers and does nothing else."""
_LEASE = timedelta(seconds=2)
_WAIT = 30.0


@dataclass
class Undecided:
    """A service that holds back its answer to the first try of each event, and takes the second one at once."""

    answers: Random
    arrived: list[Arrival] = field(default_factory=list)
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    _seen: set[str] = field(default_factory=set)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        event_id = request.headers["webhook-id"]
        first = event_id not in self._seen
        # One that is refused for good, one to be tried again, one that was taken; the rest is chance.
        statuses = (422, 503, 204)
        status = 204 if not first else (*statuses, *self.answers.choices(statuses, k=EVENTS))[len(self._seen)]
        self._seen.add(event_id)
        self.arrived.append(Arrival(event_id, digest_of(body), accepted=status == 204))
        if first:
            await self.decided.wait()
        return web.Response(status=status)


@dataclass(frozen=True)
class Thawed:
    """What came of it."""

    history: History
    fenced: int
    """Results of the frozen relay that the store did not take."""


async def freeze_once(folder: Path, *, seed: int, broken: str = "", book: Book | None = None) -> Thawed:
    """Freeze a relay with all its attempts under way, let another one deliver everything, and wake the first one up."""
    book = book or SqliteBook(folder / "relay.db")
    service = Undecided(Random(seed))
    history = History(arrived={"http": service.arrived}, kills=1)
    plan = Plan(lease=_LEASE, broken=broken)
    async with serving({"http": service.take}) as served:
        config = write_config(folder, sinks=_sinks(f"{served.url}/http"), store=book.url)
        frozen = await RelayProcess.start(config, plan)
        other: RelayProcess | None = None
        try:
            await _send(await frozen.address(), history)
            await _until(lambda: len(service.arrived) == EVENTS, "first try of each event")
            frozen.signal(SIGSTOP)
            other = await RelayProcess.start(config, plan)
            await other.address()
            await _until(lambda: len(service.arrived) == 2 * EVENTS, "second try of each event")

            async def drained() -> bool:
                return not await book.waits()

            await until(drained, "empty backlog", timeout=_WAIT)
            frozen.signal(SIGCONT)
            service.decided.set()
            await frozen.stop()
            await other.stop()
        finally:
            service.decided.set()
            for relay in (frozen, other):
                if relay is not None:
                    await relay.gone()
    history.stored = await book.look(sinks=1)
    return Thawed(history, frozen.moments["delivery.fenced"])


def _sinks(url: str) -> dict[str, Any]:
    return {"http": {"type": "http", "url": url, "allow_private": True, "concurrency": EVENTS, "timeout": "30s"}}


async def _send(address: str, history: History) -> None:
    bodies = [orjson.dumps(payload(meeting=f"meeting-{number}")) for number in range(EVENTS)]
    async with sender(f"http://{address}") as posting:
        answers = await asyncio.gather(*(posting.post(body) for body in bodies))
    for number, (body, answer) in enumerate(zip(bodies, answers, strict=True)):
        history.sent.append(Sent(digest_of(body), f"meeting-{number}"))
        history.acknowledge(history.sent[-1], answer.json["id"])


async def _until(condition: Any, what: str) -> None:
    async def asked() -> bool:
        return bool(condition())

    await until(asked, what, timeout=_WAIT)
