"""Lanes over a real store in a folder, with sinks that follow a script."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from relay.dispatch import Dispatcher
from relay.lane import Lane
from relay.model import Admission
from relay.options import LaneOptions
from relay.pace import Pace
from relay.ports import Clock, Sink
from relay.records import DeliveryRecord, Grant
from relay.seat import Seat
from relay.seating import Seating
from relay.stores.sqlite import SqliteStore
from relay.telemetry import Telemetry
from tests.fakes.clock import FakeClock
from tests.fakes.hall import Hall
from tests.fakes.outbox import WatchedOutbox
from tests.running import Samples, samples

QUICK = {"base": "1ms", "cap": "2ms"}
"""Retries for tests that wait for them."""


class Rig:
    """A store, a telemetry and a clock that stands still; `lane` puts a lane on them."""

    def __init__(self, store: SqliteStore, clock: Clock) -> None:
        self.store = store
        self.outbox = WatchedOutbox(store)
        self.telemetry = Telemetry()
        self.clock = clock

    def lane(self, sink: Sink, name: str = "crm", *, pace: Pace | None = None, **options: Any) -> Lane:
        chosen = LaneOptions(**options)
        pace = pace or Pace(chosen.rate)
        seat = Seat(name, pace)
        seat.granted(Grant(), asked=0.0, now=0.0)
        return Lane(
            name,
            sink,
            chosen,
            self.outbox,
            pace=pace,
            seat=seat,
            telemetry=self.telemetry,
            clock=self.clock,
            rng=Random(7),
        )

    async def accept(self, *admissions: Admission) -> None:
        """Accept these, in this order."""
        await asyncio.gather(*(self.store.accept(admission) for admission in admissions))

    async def records(self, sink: str = "crm") -> Sequence[DeliveryRecord]:
        """The sink's deliveries in the order of acceptance."""
        return list(reversed(await self.store.deliveries(sink=sink, limit=10_000)))

    async def only(self) -> DeliveryRecord:
        [record] = await self.records()
        return record

    def metrics(self) -> Samples:
        return samples(self.telemetry.exposition())


@asynccontextmanager
async def rigged(folder: Path, clock: Clock | None = None) -> AsyncIterator[Rig]:
    store = await SqliteStore.open(folder / "relay.db")
    try:
        yield Rig(store, clock or FakeClock())
    finally:
        await store.close()


@asynccontextmanager
async def started(*lanes: Lane, drain: float = 5.0, seating: Seating | None = None) -> AsyncIterator[Dispatcher]:
    """The lanes at work; at the end they are stopped, and none may have died."""
    clock = lanes[0]._clock
    nobody_else = Seating(Hall(FakeClock()).node("only"), clock=clock, telemetry=Telemetry())
    dispatcher = Dispatcher(lanes, drain=timedelta(seconds=drain), seating=seating or nobody_else)
    dispatcher.start()
    tasks = list(dispatcher._tasks.values())
    try:
        yield dispatcher
    finally:
        await dispatcher.stop()
    for task in tasks:
        assert task.done()
        assert not task.cancelled()
        task.result()
