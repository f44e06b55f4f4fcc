"""Keeps the seats that this process's lanes need: asks the store for them every second, and gives them up in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta

from relay.errors import StoreUnavailable
from relay.lane import Lane
from relay.ports import Clock, Switchboard
from relay.seat import Seat
from relay.telemetry import Telemetry
from relay.waiting import happens

log = logging.getLogger("relay")

_ASK_EVERY = 1.0
"""Seconds. A seat outlasts a few of them, so that one slow answer costs nothing."""


class Seating:
    """The seats of one process."""

    def __init__(self, board: Switchboard, *, clock: Clock, telemetry: Telemetry) -> None:
        self._board = board
        self._telemetry = telemetry
        self._seats: Mapping[str, Seat] = {}
        """Those that were asked for last, by place."""
        self._held: set[str] = set()
        """Places of which the log has said that they are ours."""
        self._soon = asyncio.Event()
        self._jumps = 0
        clock.on_jump(self._doubt)

    async def keep(self, lanes: Callable[[], Collection[Lane]]) -> None:
        """Have the seats that these lanes need; for ever. `lanes` tells which there are now."""
        while True:
            await self.take(lanes())
            await happens(self._soon, within=_ASK_EVERY)
            self._soon.clear()

    def soon(self) -> None:
        """Other lanes have begun or ended: do not wait for the next second."""
        self._soon.set()

    async def take(self, lanes: Collection[Lane]) -> None:
        """Ask once. Where the store does not answer, what is ours stays so for as long as it was granted."""
        loop = asyncio.get_running_loop()
        before, self._seats = self._seats, {lane.seat.place: lane.seat for lane in lanes if lane.seat.needed}
        try:
            await self._leave(seat for place, seat in before.items() if place not in self._seats)
            asked, jumps = loop.time(), self._jumps
            grants = await self._board.take_seats(self._seats.keys()) if self._seats else {}
        except StoreUnavailable as error:
            self._telemetry.store_failed(error.kind, str(error))
        else:
            for place, seat in self._seats.items():
                if place in grants and (grants[place].lasts is None or jumps == self._jumps):
                    seat.granted(grants[place], asked=asked, now=loop.time())
                else:
                    seat.lost()
        self._log(loop.time())
        for lane in lanes:
            lane.look_again()

    async def leave(self) -> None:
        """Let go of all of them, so that others take over at once. The lanes must have been stopped."""
        seats, self._seats = self._seats, {}
        try:
            await self._leave(seats.values())
        except StoreUnavailable as error:  # they run out by themselves
            self._telemetry.store_failed(error.kind, str(error))

    async def _leave(self, seats: Iterable[Seat]) -> None:
        now = asyncio.get_running_loop().time()
        left = {}
        for seat in seats:
            if seat.ours(now):
                left[seat.place] = timedelta(seconds=seat.unused(now))
            seat.lost()
        if left:
            await self._board.leave_seats(left)

    def _doubt(self, _by: timedelta) -> None:
        """The machine may have slept for longer than a seat lasts, also while an answer was under way."""
        self._jumps += 1
        for seat in self._seats.values():
            seat.doubt()
        self._soon.set()

    def _log(self, now: float) -> None:
        held = {place for place, seat in self._seats.items() if seat.ours(now)}
        for place in held - self._held:
            log.info("seat.taken", extra={"place": place})
        for place in self._held - held:
            log.info("seat.left", extra={"place": place})
        self._held = held
