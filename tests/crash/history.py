"""What was sent and what arrived, written down apart from the relay; and what must hold between the two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Sent:
    """One webhook and what its sender was told, over all of its tries."""

    body: bytes
    forged: bool = False
    """Signed by somebody else: to be refused, and never to be delivered."""
    acknowledged: set[str] = field(default_factory=set)
    """Event ids that came with a 200."""
    refused: Counter[int] = field(default_factory=Counter)
    unknown: int = 0
    """Tries without an answer: the relay may have it, or not."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery, as the sink's other end saw it."""

    event_id: str
    body: bytes


@dataclass(slots=True)
class History:
    """One run."""

    sent: list[Sent] = field(default_factory=list)
    arrived: dict[str, list[Arrival]] = field(default_factory=dict)
    """By sink."""
    kills: int = 0

    def summary(self) -> str:
        acknowledged = sum(bool(each.acknowledged) for each in self.sent)
        unknown = sum(not each.acknowledged and each.unknown > 0 for each in self.sent)
        duplicates = {sink: len(found) - len(distinct(found)) for sink, found in self.arrived.items()}
        return (
            f"{self.kills} kills, {len(self.sent)} sent, {acknowledged} acknowledged, {unknown} unknown, "
            f"duplicates {duplicates}"
        )


def distinct(arrivals: Iterable[Arrival]) -> set[bytes]:
    return {arrival.body for arrival in arrivals}


def problems(history: History, *, in_flight: Mapping[str, int]) -> list[str]:
    """All that is wrong; empty for a run in which every promise was kept.

    `in_flight` says how many deliveries of each sink can be under way at one time: so many may come twice for a kill.
    """
    found = list(_identities(history))
    for sink, most in in_flight.items():
        found += _of_sink(history, sink, most)
    return found


def _of_sink(history: History, sink: str, in_flight: int) -> Iterator[str]:
    arrivals = history.arrived.get(sink, [])
    bodies = distinct(arrivals)
    by_body = {each.body: each for each in history.sent}
    for each in history.sent:
        if each.acknowledged and each.body not in bodies:
            yield f"{sink}: lost, though acknowledged: {each.body!r}"
    for body in bodies:
        if body not in by_body:
            yield f"{sink}: never sent, or changed on the way: {body!r}"
        elif by_body[body].forged:
            yield f"{sink}: forged, but delivered: {body!r}"
    duplicates, allowed = len(arrivals) - len(bodies), history.kills * in_flight
    if duplicates > allowed:
        yield f"{sink}: {duplicates} duplicates, more than {history.kills} kills × {in_flight} in flight"


def _identities(history: History) -> Iterator[str]:
    """One event id for each body, whoever names it; one body for each event id."""
    ids: dict[bytes, set[str]] = {each.body: set(each.acknowledged) for each in history.sent}
    bodies: dict[str, set[bytes]] = {}
    for arrival in (arrival for arrivals in history.arrived.values() for arrival in arrivals):
        ids.setdefault(arrival.body, set()).add(arrival.event_id)
        bodies.setdefault(arrival.event_id, set()).add(arrival.body)
    yield from (f"{len(names)} event ids for one body: {body!r}" for body, names in ids.items() if len(names) > 1)
    yield from (f"{len(told)} bodies under one event id {name}" for name, told in bodies.items() if len(told) > 1)
    for each in history.sent:
        if each.forged and each.acknowledged:
            yield f"forged, but acknowledged: {each.body!r}"
