"""What a store tells: frozen values, one for each thing that people and their tools ask about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Generic, TypeVar

from relay.model import DeliveryState, Event, EventState, GateState, Wish, value

T = TypeVar("T")


@value
class EventRecord:
    """An event as the ledger shows it."""

    event: Event
    state: EventState
    detail: str = ""
    """Why it is quarantined; empty otherwise."""


@value
class AttemptRecord:
    """One failed attempt."""

    attempt: int
    at: datetime
    reason: str
    detail: str


@value
class DeliveryRecord:
    """A delivery as the ledger shows it."""

    id: int
    event_id: str
    type: str
    meeting: str | None
    route: str
    sink: str
    state: DeliveryState
    attempt: int
    tries: int
    replay: int
    due_at: datetime | None
    """When it is tried next, or when its lease ends; None while it waits for an earlier one of its meeting, or is
    settled."""
    settled_at: datetime | None
    receipt: str
    reason: str
    detail: str
    config: str
    replay_at: datetime | None = None
    leased: bool = False
    """Whether somebody is at work on it, until `due_at` at the latest."""
    attempts: Sequence[AttemptRecord] = ()
    """Those that failed."""


@value
class Arrival:
    """An event that came in, and what has become of its deliveries by now."""

    event: EventRecord
    deliveries: Sequence[DeliveryRecord] = ()


@value
class Backlog:
    """What waits for one sink."""

    pending: int
    oldest: datetime | None
    """Since when the one that has waited longest is owed: its event's acceptance, or its last replay."""


@value
class SinkRecord:
    """A sink as the ledger shows it: what waits, what its lane last said, what people want."""

    sink: str
    pending: int = 0
    oldest: datetime | None = None
    """Since when the one that has waited longest is owed, as in `Backlog`."""
    replays: int = 0
    """How many of the pending ones are replays."""
    dead: int = 0
    state: GateState | None = None
    """None: no relay has run it yet."""
    reason: str = ""
    detail: str = ""
    since: datetime | None = None
    wish: Wish | None = None
    nodes: Sequence[str] = ()
    """The nodes that are at work and say so, where there may be several; of a sink with a limit, the one that has its
    seat."""
    others: int = 0
    """How many nodes say something better of it."""


@value
class Grant:
    """A seat that is ours: the right to post to a place whose limit holds over all nodes."""

    alone: timedelta | None = None
    """For how long no other node had it when it was asked for; None: as far as anybody knows, none ever had."""
    lasts: timedelta | None = None
    """For how long it stays ours, from the moment at which it was asked for; None: for as long as the store is open."""


@value
class Tally:
    """How many deliveries of one sink and route stand in one state."""

    sink: str
    route: str
    state: DeliveryState
    count: int
    oldest: datetime
    newest: datetime
    """When the oldest and the newest of their events were accepted."""


@value
class Step(Generic[T]):
    """One step of work that is done in steps, so that nobody waits long behind it."""

    done: T
    next: int | None
    """Where to go on; None: that was all."""


@value
class Redelivered:
    """What came of giving events the deliveries that they should have."""

    added: int = 0
    replayed: int = 0
    sinks: frozenset[str] = frozenset()
    """Those for which something was done."""


class Checkpoint(StrEnum):
    """How an attempt to move a store's log into its place ended; each value is a metric label."""

    OK = "ok"
    BUSY = "busy"
    FAILED = "failed"


@value
class Schema:
    """The tables of a store, as they are and as this relay makes them."""

    found: int
    """The number of the newest migration that was applied; 0: there is no store yet."""
    known: int
    """That of the newest one that this relay knows."""
    due: Sequence[str] = ()
    """The migrations that are to be applied, in order."""
    oldest: int = 0
    """Relays that know this one, or a newer one, can go on working when those are applied; 0: any that could before."""


@value
class Health:
    """How a store is, as far as it knows without asking anybody."""

    obstacle: str = ""
    """What keeps events from being accepted now, and what to do about it; empty: nothing."""
    free_bytes: int | None = None
    """Free space where it keeps them; None: nobody knows."""
    log_bytes: int | None = None
    """What is committed and not yet in its place; None where there is no such log."""
