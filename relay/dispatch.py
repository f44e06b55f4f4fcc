"""All lanes: one for each sink, begun, replaced and ended together or each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from relay.errors import StoreUnavailable
from relay.lane import Lane
from relay.model import Failure, GateState, Wish
from relay.ports import Clock, Switchboard
from relay.seating import Seating
from relay.telemetry import Telemetry

_FOLLOW_EVERY = 1.0
"""Seconds from a person's wish to its fulfilment, at most; and from a gate's change to its place in the store."""
_GIVE_BACK = 5.0
"""Seconds that lanes may take to give back what they were interrupted in."""


class Dispatcher:
    """All lanes. A lane that ends by an error of ours ends the relay: `failed` tells."""

    def __init__(self, lanes: Sequence[Lane], *, drain: timedelta, seating: Seating) -> None:
        self._lanes = {lane.name: lane for lane in lanes}
        self._drain = drain
        self._seating = seating
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._wishes: Mapping[str, Wish] = {}
        self._reported: dict[str, tuple[GateState, Failure | None]] = {}

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lanes, by the name of their sink."""
        return self._lanes

    async def follow(self, board: Switchboard, *, clock: Clock, telemetry: Telemetry) -> None:
        """Do what people want of the sinks, and keep in the store what the lanes say of them; for ever."""
        while True:
            try:
                self.obey(await board.wishes())
                await self._report(board, clock)
            except StoreUnavailable as error:
                telemetry.store_failed(error.kind, str(error))
            await asyncio.sleep(_FOLLOW_EVERY)

    def obey(self, wishes: Mapping[str, Wish]) -> None:
        """Do what people want, by sink; also of lanes that come later."""
        self._wishes = wishes
        for name, lane in self._lanes.items():
            if name in wishes:
                lane.obey(wishes[name])

    async def keep_seats(self) -> None:
        """Have the seats that the lanes need; for ever. Without them these lanes begin nothing."""
        await self._seating.keep(lambda: list(self._lanes.values()))

    async def _report(self, board: Switchboard, clock: Clock) -> None:
        """Keep in the store what has changed; say nothing of what another node delivers to, or nobody any more."""
        ours = {name: lane for name, lane in self._lanes.items() if lane.seated}
        for name in self._reported.keys() - ours.keys():
            await board.withdraw(name)
            del self._reported[name]
        for name, lane in ours.items():
            said = (lane.gate.state, lane.gate.failure)
            if self._reported.get(name) != said:
                await board.report(name, *said, now=clock.now())
                self._reported[name] = said

    def measure(self, telemetry: Telemetry) -> None:
        """Tell which seats are here."""
        for name, lane in self._lanes.items():
            if lane.seat.needed:
                telemetry.sink_seat(name, ours=lane.seated)
            else:
                telemetry.sink_unlimited(name)

    def start(self) -> None:
        """Begin to deliver."""
        for lane in self._lanes.values():
            self._run(lane)

    def put(self, lane: Lane) -> Lane | None:
        """Begin a lane, and return the one of the same sink that it replaces; `end` that one.

        Both may be at work for a while: what the old one has begun is leased to it, so the new one does not take it.
        """
        replaced = self._lanes.get(lane.name)
        self._lanes[lane.name] = lane
        self._run(lane)
        return replaced

    def take_out(self, name: str) -> Lane | None:
        """Forget a sink's lane, and return it; `end` it."""
        self._seating.soon()
        return self._lanes.pop(name, None)

    async def failed(self) -> BaseException:
        """Return the error of a lane that ended by one; lanes are not meant to."""
        return await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """End all lanes. What is begun was counted: others need not wait for its end."""
        lanes = list(self._tasks)
        for lane in lanes:
            lane.stop()
        await asyncio.gather(self._seating.leave(), self.end(lanes))

    async def end(self, lanes: Collection[Lane], *, patience: timedelta = timedelta(0)) -> None:
        """Let lanes finish within the drain time, or `patience` if that is longer; interrupt and give back what has
        not."""
        tasks = [self._tasks[lane] for lane in lanes if lane in self._tasks]
        for lane in lanes:
            lane.stop()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=max(self._drain, patience).total_seconds())
        if late:
            for lane in lanes:
                lane.abort()
            _, stuck = await asyncio.wait(late, timeout=_GIVE_BACK)
            for task in stuck:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, lane: Lane) -> None:
        self._seating.soon()
        if lane.name in self._wishes:
            lane.obey(self._wishes[lane.name])
        task = asyncio.create_task(lane.run(), name=f"lane-{lane.name}")
        self._tasks[lane] = task
        task.add_done_callback(lambda _: self._ended(lane, task))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        self._tasks.pop(lane, None)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_result(error)
