"""Whether arrivals kept to the order in which their events were accepted, meeting by meeting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.crash.history import Arrival


class Order(NamedTuple):
    """How often it was broken."""

    inversions: int
    """Arrivals of an event after the arrival of a later one of its meeting: A, B, A. A, A, B is a mere duplicate."""
    overtakings: int
    """Arrivals while an earlier event of the meeting was neither taken nor refused for good."""

    def __add__(self, other: object) -> Order:
        assert isinstance(other, Order)
        return Order(self.inversions + other.inversions, self.overtakings + other.overtakings)


class _Line:
    """One meeting's events, in the order of acceptance."""

    def __init__(self, events: Iterable[str]) -> None:
        self._place = {event: place for place, event in enumerate(events)}
        self._next = 0
        """The first that is not done with."""
        self._newest = -1

    def came(self, event: str, *, done: bool) -> Order:
        place = self._place[event]
        broken = Order(place < self._newest, place > self._next)
        self._newest = max(self._newest, place)
        if done:
            self._next = max(self._next, place + 1)
        return broken


def judge(arrivals: Iterable[Arrival], meetings: Mapping[str, str], numbers: Mapping[str, int]) -> Order:
    """Count what came out of order.

    All arrivals count, the refused ones too: of one meeting the relay may not even try a later event before the
    earlier ones are done with. Events are named by id; `numbers` has the acceptance number of each that was stored.
    """
    lines: dict[str, list[str]] = defaultdict(list)
    for event in sorted(meetings.keys() & numbers.keys(), key=numbers.__getitem__):
        lines[meetings[event]].append(event)
    watched = {meeting: _Line(events) for meeting, events in lines.items()}
    inversions = overtakings = 0
    for arrival in arrivals:
        if arrival.event_id in numbers:  # else it was never stored, which is another problem
            broken = watched[meetings[arrival.event_id]].came(arrival.event_id, done=arrival.accepted or arrival.final)
            inversions, overtakings = inversions + broken.inversions, overtakings + broken.overtakings
    return Order(inversions, overtakings)
