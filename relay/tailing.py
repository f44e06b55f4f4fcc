"""What happens in a store, as it happens: events that arrive, attempts that fail, deliveries that settle.

Made of short looks, one after the other. A delivery is followed from where it is first seen until it settles: those of
new events all, those of an older backlog when they are among the next of their sink.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from enum import StrEnum

from relay.errors import StoreUnavailable
from relay.model import DeliveryState, Selection, value
from relay.ports import Live
from relay.records import Arrival, AttemptRecord, DeliveryRecord

STEP = 100
"""Events that are read at once; each may be a megabyte."""
MOST_STEPS = 10
"""Steps of one look, so that what was found is shown before the next ones are read."""
HEAD = 1000
"""Deliveries of each sink that are followed of an older backlog."""
MOST_FOLLOWED = 20_000
"""Past them the oldest are let go, and found again when their turn comes."""
_AT_ONCE = 1000


class What(StrEnum):
    """What has happened."""

    ARRIVED = "arrived"
    DELIVERED = "delivered"
    FAILED = "failed"
    """One attempt; there will be another."""
    DEAD = "dead"


@value
class Moment:
    """One thing that has happened."""

    at: datetime
    what: What
    arrival: Arrival | None = None
    """What came in; None for all that happens to deliveries."""
    delivery: DeliveryRecord | None = None
    attempt: AttemptRecord | None = None
    """The attempt that failed."""


class Tail:
    """Looks on, and remembers what it has told."""

    def __init__(self, live: Live, selection: Selection, *, after: int, failures: bool = False) -> None:
        """Tells what happens behind the place `after`, and to what waits; with `failures`, only what fails."""
        self._live = live
        self._selection = selection
        self._after = after
        self._failures = failures
        self._ended: dict[int, int] = {}
        """How many attempts of each delivery that is followed have been told."""
        self.behind = False
        """Whether the last look did not get to the end of what there is: look again at once."""

    async def look(self) -> Sequence[Moment]:
        """What has happened since the last look, in the order in which it happened.

        Raises StoreUnavailable; the next look tells what this one would have told.
        """
        after, ended = self._after, dict(self._ended)
        try:
            return await self._look()
        except StoreUnavailable:
            self._after, self._ended = after, ended
            raise

    async def _look(self) -> Sequence[Moment]:
        moments = list(await self._arrivals())
        for delivery, ended in (await self._live.waiting(self._selection, limit=HEAD)).items():
            self._ended.setdefault(delivery, ended)
        followed = list(self._ended.items())
        for start in range(0, len(followed), _AT_ONCE):
            for record in await self._live.moved(dict(followed[start : start + _AT_ONCE])):
                moments.extend(self._told(record))
        for delivery in list(self._ended)[: max(0, len(self._ended) - MOST_FOLLOWED)]:
            del self._ended[delivery]
        wanted = (moment for moment in moments if not self._failures or moment.what in (What.FAILED, What.DEAD))
        return sorted(wanted, key=lambda moment: moment.at)

    async def _arrivals(self) -> Sequence[Moment]:
        moments: list[Moment] = []
        for _ in range(MOST_STEPS):
            step = await self._live.arrived(self._selection, after=self._after, limit=STEP)
            self.behind = step.next is not None
            if step.next is None:
                break
            self._after = step.next
            for arrival in step.done:
                moments.extend(self._arrival(arrival))
        return moments

    def _arrival(self, arrival: Arrival) -> Iterator[Moment]:
        sink = self._selection.sink
        deliveries = [each for each in arrival.deliveries if sink in (None, each.sink)]
        if sink is None or deliveries:
            yield Moment(at=arrival.event.event.received_at, what=What.ARRIVED, arrival=arrival)
        for delivery in deliveries:
            yield from self._told(delivery)

    def _told(self, record: DeliveryRecord) -> Iterator[Moment]:
        """What is new of one delivery; it is followed until it settles."""
        told = self._ended.get(record.id, 0)
        settled = record.settled_at if record.state is not DeliveryState.PENDING else None
        for attempt in record.attempts:
            last = settled is not None and attempt.attempt == record.attempt
            if attempt.attempt > told and not last:
                yield Moment(at=attempt.at, what=What.FAILED, delivery=record, attempt=attempt)
        if settled is None:
            self._ended[record.id] = record.attempt - record.leased
            return
        self._ended.pop(record.id, None)
        yield Moment(at=settled, what=What(record.state.value), delivery=record)
