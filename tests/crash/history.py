"""What was sent, what arrived and what the store says, written down apart from the relay; what must hold between them.

Bodies are kept as digests, so that a run of hundreds of thousands of events fits into memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from tests.crash.order import Order, judge


def digest_of(body: bytes) -> bytes:
    return blake2b(body, digest_size=16).digest()


@dataclass(slots=True)
class Sent:
    """One webhook and what its sender was told, over all of its tries."""

    digest: bytes
    meeting: str = ""
    forged: bool = False
    """Signed by somebody else: to be refused, and never to be delivered."""
    acknowledged: tuple[str, ...] = ()
    """Event ids that came with a 200, each once."""
    refused: int = 0
    """Tries with a 4xx: not to be tried again."""
    busy: int = 0
    """Tries with a 5xx."""
    unknown: int = 0
    """Tries without an answer: the relay may have it, or not."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery, as the sink's other end saw it."""

    event_id: str
    digest: bytes
    accepted: bool = True
    """Taken. Without it the event was seen and refused, or dropped: that is no delivery."""
    final: bool = False
    """Refused for good: this one is to become a dead letter."""
    replayed: bool = False
    """Sent again because somebody asked for it: in no order with what comes in."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store says once nothing waits any more."""

    numbers: Mapping[str, int] = field(default_factory=dict)
    """Of each event, in the order of acceptance."""
    dead: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By sink, the events that are dead letters."""
    unanswered: Mapping[str, int] = field(default_factory=dict)
    """By sink, the attempts that ended without an answer, as far as the relay could know."""


@dataclass(slots=True)
class History:
    """One run."""

    sent: list[Sent] = field(default_factory=list)
    arrived: dict[str, list[Arrival]] = field(default_factory=dict)
    """By sink."""
    stored: Stored = field(default_factory=Stored)
    kills: int = 0
    acknowledged: int = 0
    """How many of the sent ones are; counted, because it is asked for all the time."""

    def acknowledge(self, sent: Sent, event_id: str) -> None:
        """A 200 came for this one."""
        self.acknowledged += not sent.acknowledged
        if event_id not in sent.acknowledged:
            sent.acknowledged += (event_id,)

    def order(self, sink: str) -> Order:
        """How far the sink's arrivals, the refused ones among them, kept to the order of acceptance."""
        meetings = {each.digest: each.meeting for each in self.sent}
        of_event = {name: each.meeting for each in self.sent for name in each.acknowledged}
        arrivals = [arrival for arrival in self.arrived.get(sink, ()) if not arrival.replayed]
        of_event |= {arrival.event_id: meetings.get(arrival.digest, "") for arrival in arrivals}
        return judge(arrivals, of_event, self.stored.numbers)

    def summary(self, *, ordered: Iterable[str]) -> str:
        unknown = sum(not each.acknowledged and each.unknown > 0 for each in self.sent)
        order = sum((self.order(sink) for sink in ordered), start=Order(0, 0))
        sinks = [
            f"{sink}: {len(arrivals)} arrivals, {sum(not arrival.accepted for arrival in arrivals)} refused, "
            f"{len(self.stored.dead.get(sink, ()))} dead, {_duplicates(arrivals)} duplicates"
            for sink, arrivals in self.arrived.items()
        ]
        lost = sum(len(list(_lost(self, sink))) for sink in self.arrived)
        return (
            f"{self.kills} kills, {len(self.sent)} sent, {self.acknowledged} acknowledged, {unknown} unknown, "
            f"{lost} lost, {order.inversions} inversions, {order.overtakings} overtakings\n  " + "\n  ".join(sinks)
        )


def distinct(arrivals: Iterable[Arrival]) -> set[bytes]:
    """What the sink has."""
    return {arrival.digest for arrival in arrivals if arrival.accepted}


def problems(history: History, *, under_way: Mapping[str, int], ordered: Iterable[str] = ()) -> list[str]:
    """All that is wrong; empty for a run in which every promise was kept.

    `under_way` says how many deliveries of each sink can be so at one time: so many may come twice for a kill.
    `ordered` are the sinks that get each meeting's events in the order of their acceptance.
    """
    found = list(_identities(history))
    for sink, most in under_way.items():
        found += _lost(history, sink)
        found += _made_up(history, sink)
        found += _dead(history, sink)
        found += _too_many(history, sink, most)
    for sink in ordered:
        found += _out_of_order(history, sink)
    return found


def _lost(history: History, sink: str) -> Iterator[str]:
    """Whatever was acknowledged has arrived, or is a dead letter."""
    has, dead = distinct(history.arrived.get(sink, ())), history.stored.dead.get(sink, frozenset())
    for each in history.sent:
        if each.acknowledged and each.digest not in has and not dead.intersection(each.acknowledged):
            yield f"{sink}: lost, though acknowledged: {_name(each)}"


def _made_up(history: History, sink: str) -> Iterator[str]:
    by_digest = {each.digest: each for each in history.sent}
    for arrival in history.arrived.get(sink, ()):
        if arrival.digest not in by_digest:
            yield f"{sink}: never sent, or changed on the way: {arrival.event_id}"
        elif by_digest[arrival.digest].forged:
            yield f"{sink}: forged, but delivered: {arrival.event_id}"


def _dead(history: History, sink: str) -> Iterator[str]:
    """A dead letter is what the sink refused for good and has not taken since, no less and no more."""
    arrivals, dead = history.arrived.get(sink, ()), history.stored.dead.get(sink, frozenset())
    refused = {arrival.event_id for arrival in arrivals if arrival.final}
    taken = {arrival.event_id for arrival in arrivals if arrival.accepted}
    yield from (f"{sink}: dead, though the sink has taken it: {name}" for name in sorted(dead & taken))
    yield from (f"{sink}: dead, though never refused for good: {name}" for name in sorted(dead - refused))
    yield from (f"{sink}: refused for good, but no dead letter: {name}" for name in sorted(refused - dead - taken))


def _too_many(history: History, sink: str, under_way: int) -> Iterator[str]:
    """Only a kill, and an answer that the relay did not get, make a duplicate.

    Of the latter only the relay can know: on a busy machine an answer may leave in time, and arrive too late.
    """
    duplicates = _duplicates(history.arrived.get(sink, []))
    unanswered = history.stored.unanswered.get(sink, 0)
    if duplicates > history.kills * under_way + unanswered:
        allowed = f"{history.kills} kills × {under_way} under way + {unanswered} unanswered"
        yield f"{sink}: {duplicates} duplicates, more than {allowed}"


def _duplicates(arrivals: Iterable[Arrival]) -> int:
    return Counter(arrival.accepted for arrival in arrivals)[True] - len(distinct(arrivals))


def _out_of_order(history: History, sink: str) -> Iterator[str]:
    order = history.order(sink)
    if order.inversions:
        yield f"{sink}: {order.inversions} inversions: arrivals after a later one of their meeting"
    if order.overtakings:
        yield f"{sink}: {order.overtakings} overtakings: arrivals before an earlier one of their meeting was done with"


def _identities(history: History) -> Iterator[str]:
    """One event id for each body, whoever names it; one body for each event id; and only what is authentic."""
    ids: dict[bytes, set[str]] = {each.digest: set(each.acknowledged) for each in history.sent}
    bodies: dict[str, set[bytes]] = {}
    for arrival in (arrival for arrivals in history.arrived.values() for arrival in arrivals):
        ids.setdefault(arrival.digest, set()).add(arrival.event_id)
        bodies.setdefault(arrival.event_id, set()).add(arrival.digest)
    yield from (f"{len(names)} event ids for one body: {sorted(names)}" for names in ids.values() if len(names) > 1)
    yield from (f"{len(told)} bodies under one event id {name}" for name, told in bodies.items() if len(told) > 1)
    for each in history.sent:
        if each.forged and each.acknowledged:
            yield f"forged, but acknowledged: {_name(each)}"
        if each.refused and not each.forged:
            yield f"authentic, but refused for good: {_name(each)}"


def _name(sent: Sent) -> str:
    return f"{', '.join(sent.acknowledged) or 'no event id'} of {sent.meeting or 'no meeting'}"
