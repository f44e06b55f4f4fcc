"""Nodes of one relay: each with lanes, a dispatcher and seats of its own, on one store in memory; and time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from relay.dispatch import Dispatcher
from relay.lane import Lane
from relay.options import LaneOptions
from relay.pace import Pace
from relay.seat import Seat
from relay.seating import Seating
from relay.telemetry import Telemetry
from tests.fakes.clock import FakeClock
from tests.fakes.hall import Hall, HallNode
from tests.fakes.loop_time import LoopTime, turns
from tests.fakes.sink import ScriptedSink
from tests.running import Samples, samples


class Node:
    """A process with lanes, on a store that others use as well."""

    def __init__(self, hall: Hall, name: str, clock: FakeClock, **options: Any) -> None:
        self.store: HallNode = hall.node(name)
        self.telemetry = Telemetry()
        self.clock = clock
        self.sink = ScriptedSink()
        chosen = LaneOptions(**options)
        pace = Pace(chosen.rate)
        self.lane = self.make_lane(chosen, pace, Seat("place", pace))
        seating = Seating(self.store, clock=clock, telemetry=self.telemetry)
        self.dispatcher = Dispatcher([self.lane], drain=timedelta(seconds=5), seating=seating)
        self.tasks: list[asyncio.Task[None]] = []

    def make_lane(self, options: LaneOptions, pace: Pace, seat: Seat) -> Lane:
        return Lane(
            "crm",
            self.sink,
            options,
            self.store,
            pace=pace,
            seat=seat,
            telemetry=self.telemetry,
            clock=self.clock,
            rng=Random(7),
        )

    async def start(self) -> None:
        self.dispatcher.start()
        self.look_on()
        await turns()

    def look_on(self) -> None:
        """Keep seats, follow wishes, and report."""
        follow = self.dispatcher.follow(self.store, clock=self.clock, telemetry=self.telemetry)
        self.tasks = [asyncio.create_task(work) for work in (self.dispatcher.keep_seats(), follow)]

    async def stop(self) -> None:
        await self.look_away()
        await self.dispatcher.stop()

    async def look_away(self) -> None:
        """Do nothing more about seats and wishes."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def die(self) -> None:
        """Without a word to the store."""
        self.store.cut = True
        await self.look_away()
        for task in self.dispatcher._tasks.values():
            task.cancel()
        await asyncio.gather(*self.dispatcher._tasks.values(), return_exceptions=True)

    @property
    def sent(self) -> int:
        return len(self.sink.asked)

    def metrics(self) -> Samples:
        self.dispatcher.measure(self.telemetry)
        return samples(self.telemetry.exposition())


class Scene:
    """A hall, two nodes, and time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time = LoopTime(monkeypatch, still=True)
        self.hall = Hall(self.time.clock)
        self.stack = AsyncExitStack()
        """Stops all nodes at its end."""

    async def node(self, name: str, **options: Any) -> Node:
        made = Node(self.hall, name, self.time.clock, **{"rate": "1/s"} | options)
        await made.start()
        self.stack.push_async_callback(made.stop)
        return made

    async def pass_by(self, seconds: float, step: float = 0.1, each: Callable[[], None] | None = None) -> None:
        for _ in range(round(seconds / step)):
            await self.time.advance(step)
            if each is not None:
                each()
