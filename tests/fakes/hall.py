"""A store in memory that several nodes share, with a clock of its own: queues, leases, seats and wishes.

Nothing in it waits for a thread, so that hours of several nodes pass in a moment, one after the other.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from relay.errors import StoreUnavailable
from relay.model import Delivery, Failure, GateState, Retry, Settled, Wish
from relay.records import Grant
from tests.fakes.clock import FakeClock
from tests.fakes.delivery import delivery

TERM = timedelta(seconds=3)
"""For how long a seat is granted."""


@dataclass
class Row:
    delivery: Delivery
    due: datetime


@dataclass
class Taken:
    owner: str
    until: datetime
    since: datetime | None
    """When the last term of somebody else ended."""


class Hall:
    """What all nodes share. `clock` is the store's."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.rows: dict[int, Row] = {}
        """What is pending."""
        self._last = 0
        self.seats: dict[str, Taken] = {}
        self.wished: dict[str, Wish] = {}
        self.reports: dict[tuple[str, str], tuple[GateState, Failure | None]] = {}
        self.claimed: list[tuple[str, int]] = []
        """Who claimed which delivery, in order."""
        self.asked: defaultdict[str, int] = defaultdict(int)
        """Calls of `claim`, by owner."""

    def node(self, owner: str) -> HallNode:
        return HallNode(self, owner)

    def fill(self, sink: str, count: int) -> None:
        """Let so many be due for a sink."""
        for _ in range(count):
            self._last += 1
            one = replace(delivery({}), id=self._last, sink=sink, attempt=0, tries=0)
            self.rows[self._last] = Row(one, self.clock.now())


class HallNode:
    """One node's connection: an `Outbox` and a `Switchboard`."""

    def __init__(self, hall: Hall, owner: str) -> None:
        self.hall = hall
        self.owner = owner
        self.settled: list[Settled] = []
        self.fenced: list[Settled] = []
        self._answers = asyncio.Event()
        self._answers.set()
        self.cut = False
        """Whether every call fails."""
        self.lapses = 0
        """How often others took over what it held."""

    def freeze(self) -> None:
        """From now on no answer arrives; what was asked is done all the same."""
        self._answers.clear()

    def thaw(self) -> None:
        self._answers.set()

    @property
    def tenure(self) -> int | None:
        return None if self.cut else self.lapses

    async def claim(
        self, sink: str, *, limit: int, newest: int = 0, now: datetime, lease: timedelta, seat: str | None = None
    ) -> Sequence[Delivery]:
        self._reach()
        self.hall.asked[self.owner] += 1
        claimed: list[Delivery] = []
        rows = self.hall.rows.values() if seat is None or self._has(seat) else ()
        for row in rows:
            if len(claimed) == limit:
                break
            if row.delivery.sink == sink and row.due <= now:
                row.delivery = replace(row.delivery, attempt=row.delivery.attempt + 1, tries=row.delivery.tries + 1)
                row.due = now + lease
                claimed.append(row.delivery)
                self.hall.claimed.append((self.owner, row.delivery.id))
        await self._answers.wait()
        return claimed

    async def settle(self, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
        self._reach()
        done = [self._settle(result) for result in results]
        await self._answers.wait()
        return done

    async def wait(self, sink: str, *, timeout: float) -> None:
        await asyncio.sleep(timeout)

    async def next_due(self, sink: str) -> datetime | None:
        due = [row.due for row in self.hall.rows.values() if row.delivery.sink == sink]
        await self._answers.wait()
        return min(due, default=None)

    async def shared_time(self) -> datetime | None:
        now = self.hall.clock.now()
        await self._answers.wait()
        return now

    async def wishes(self) -> Mapping[str, Wish]:
        self._reach()
        return dict(self.hall.wished)

    async def report(self, sink: str, state: GateState, failure: Failure | None, *, now: datetime) -> None:
        self._reach()
        self.hall.reports[sink, self.owner] = (state, failure)

    async def withdraw(self, sink: str) -> None:
        self._reach()
        self.hall.reports.pop((sink, self.owner), None)

    async def take_seats(self, places: Collection[str]) -> Mapping[str, Grant]:
        self._reach()
        now = self.hall.clock.now()
        for place in places:
            taken = self.hall.seats.get(place)
            if taken is None:
                self.hall.seats[place] = Taken(self.owner, now + TERM, None)
            elif taken.owner == self.owner:
                taken.until = now + TERM
            elif taken.until <= now:
                self.hall.seats[place] = Taken(self.owner, now + TERM, taken.until)
        ours = {place: self.hall.seats[place] for place in places if self._has(place)}
        grants = {
            place: Grant(alone=None if taken.since is None else now - taken.since, lasts=TERM)
            for place, taken in ours.items()
        }
        await self._answers.wait()
        return grants

    async def leave_seats(self, unused: Mapping[str, timedelta]) -> None:
        self._reach()
        for place, seconds in unused.items():
            if self._has(place):
                self.hall.seats[place].until = self.hall.clock.now() - seconds
        await self._answers.wait()

    def _settle(self, result: Settled) -> bool:
        of, verdict = result
        row = self.hall.rows.get(of.id)
        if row is None or row.delivery.attempt != of.attempt:
            self.fenced.append(result)
            return False
        self.settled.append(result)
        if isinstance(verdict, Retry):
            row.due = verdict.at
            row.delivery = replace(row.delivery, tries=of.tries - (not verdict.counted))
        else:
            del self.hall.rows[of.id]
        return True

    def _has(self, place: str) -> bool:
        taken = self.hall.seats.get(place)
        return taken is not None and taken.owner == self.owner and taken.until > self.hall.clock.now()

    def _reach(self) -> None:
        if self.cut:
            raise StoreUnavailable("store: told to fail", kind="conn")
