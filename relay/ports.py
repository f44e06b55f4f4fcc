"""The contracts between the parts, each written from the side of the one who calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence, Set
from datetime import datetime, timedelta
from typing import Protocol

from relay.errors import StoreUnavailable
from relay.model import (
    Acceptance,
    Admission,
    Delivery,
    DeliveryState,
    EventState,
    Failure,
    GateState,
    Selection,
    Settled,
    Target,
    Wish,
)
from relay.preview import Look, Preview
from relay.records import (
    Arrival,
    Backlog,
    Checkpoint,
    DeliveryRecord,
    EventRecord,
    Grant,
    Health,
    Redelivered,
    SinkRecord,
    Step,
    Tally,
)


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Aware, in UTC: what people and receivers are told. May jump; durations are measured by the event loop."""

    def steady(self) -> datetime:
        """What due times and leases go by: never back within a process, and never behind `now`. It jumps forward. Once
        it was corrected it goes by the store's clock instead, whatever `now` does."""

    def stamp(self) -> datetime:
        """The moment to write down for what happens now: `now`, but never ahead of `steady`, so that no node has to
        wait until it comes due."""

    def correct(self, by: timedelta) -> None:
        """The store's clock, which all nodes go by, is so far ahead of `steady`: go by that one from now on."""

    @property
    def doubtful(self) -> bool:
        """Whether it jumped, goes by the store's clock, and was not compared with that since: the machine may have
        slept, and everything that was leased may be somebody else's."""

    def age(self, since: datetime) -> timedelta:
        """How much time has passed since that moment; what the clock has skipped, as far as is known, has not."""

    def ago(self, age: timedelta) -> datetime:
        """The moment that has this age."""

    def on_jump(self, listener: Callable[[timedelta], None]) -> None:
        """Call the listener with how far the clock jumped, each time that it is found to."""


class Sink(Protocol):
    """A destination. Its constructor does no I/O; it connects on first use."""

    async def deliver(self, delivery: Delivery) -> str:
        """Hand over one delivery and return a receipt: a short text that helps to find it at the other end.

        Returning means that the destination has taken it. May be called many times at once, again for the same
        delivery, and may be cancelled at any await (time-out, shutdown).

        Raises:
            Unavailable: maybe later.
            Rejected: never this event.
            Misconfigured: no event, until somebody mends the sink.
        """

    async def close(self) -> None:
        """Let go of everything within a few seconds, also when the destination is dead. May be called twice."""


class Previewed(Protocol):
    """What can tell what it would send."""

    def preview(self, delivery: Delivery, look: Look) -> Preview:
        """What `deliver` would send, made by the same code and not sent. No I/O; needs no event loop.

        Raises:
            Rejected, Misconfigured: as `deliver` would, before it sent anything.
        """


class PreviewedSink(Sink, Previewed, Protocol):
    """A sink as it is built: it delivers, and tells beforehand what."""


class Signer(Protocol):
    """A public key that can tell whether a signature is its owner's."""

    def verify(self, body: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over exactly these bytes. Never raises."""


class Keys(Protocol):
    """The public keys of one source."""

    def current(self) -> Sequence[Signer]:
        """The keys to try, newest first; empty while none is known. No I/O."""

    def fresh(self) -> bool:
        """Whether a signature that no key fits can be called wrong: pinned keys, or fetched a moment ago."""

    async def refresh(self) -> bool:
        """Ask the provider again, unless that was done less than a minute ago, and say whether the keys are fresh now.

        Many callers share one fetch. Cancelling a caller does not cancel the fetch.
        """


class Intake(Protocol):
    """The half of the store that the gateway uses."""

    async def accept(self, admission: Admission) -> Acceptance:
        """Write the event, its mark and its deliveries in one durable commit, or find that it is a duplicate.

        Returning means that it survives a power cut. Raises StoreUnavailable where it could not be written; after a
        cancellation it may still be written, and the sender's retry is then a duplicate.
        """


class Outbox(Protocol):
    """The half of the store that the lanes use."""

    @property
    def tenure(self) -> int | None:
        """A number that is another one where somebody else may have taken over what was claimed under it; None: just
        now it may be so, and nothing is to be begun."""

    async def claim(
        self, sink: str, *, limit: int, newest: int = 0, now: datetime, lease: timedelta, seat: str | None = None
    ) -> Sequence[Delivery]:
        """Lease up to `limit` deliveries that are due, oldest first; nobody else gets them before `now + lease`.

        Where more are due, `newest` of them are those that came due last, so that these need not wait until all the
        others have gone. Replays are taken when nothing else is due. With `seat`, nothing is leased unless the seat of
        this place is ours in the same moment (see `Switchboard.take_seats`).
        """

    async def settle(self, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
        """Record verdicts. False at a position: the lease was lost meanwhile, and somebody else's result stands."""

    async def wait(self, sink: str, *, timeout: float) -> None:
        """Return when something may have come due for the sink, or after `timeout` seconds. A hint, nothing more."""

    async def next_due(self, sink: str) -> datetime | None:
        """When the sink's next delivery comes due; None with an empty backlog."""


class Switchboard(Protocol):
    """Where people say what they want of sinks, and lanes say how their sinks are; neither waits for the other. And
    where nodes agree on who posts to a place that may be posted to only so often."""

    async def wishes(self) -> Mapping[str, Wish]:
        """What people want, by sink; a sink of which nobody ever said anything is not there."""

    async def report(self, sink: str, state: GateState, failure: Failure | None, *, now: datetime) -> None:
        """Keep what the sink's lane says of it, for those who ask from outside; where there are several nodes, what
        each says."""

    async def withdraw(self, sink: str) -> None:
        """This node says no more of the sink: another one delivers to it. Where there is but one, its last word
        stands."""

    async def take_seats(self, places: Collection[str]) -> Mapping[str, Grant]:
        """Have the seats of these places, as far as no other node has them now; which are ours. It is done again about
        every second, else they fall to others by the store's clock."""

    async def leave_seats(self, unused: Mapping[str, timedelta]) -> None:
        """Let go of these seats, as if for so long nobody had made use of each."""


class Ledger(Protocol):
    """The half of the store that people and their tools use. Reads only, never in the way of an answer."""

    async def events(
        self,
        *,
        type_glob: str | None = None,
        meeting: str | None = None,
        source: str | None = None,
        state: EventState | None = None,
        limit: int = 50,
    ) -> Sequence[EventRecord]:
        """The newest events that fit, newest first."""

    async def event(self, event_id: str) -> EventRecord | None:
        """One event by our id, by the start of it where that is unique, or by the sender's uuid."""

    async def deliveries(
        self,
        *,
        event_id: str | None = None,
        sink: str | None = None,
        state: DeliveryState | None = None,
        meeting: str | None = None,
        limit: int = 50,
    ) -> Sequence[DeliveryRecord]:
        """The newest deliveries that fit, newest first, each with its failed attempts."""

    async def ahead(self, delivery_id: int) -> DeliveryRecord | None:
        """The delivery that has to be settled before this one's turn comes; None where it waits for no other."""

    async def backlog(self) -> Mapping[str, Backlog]:
        """What waits, by sink; also for sinks that the configuration no longer has."""

    async def totals(self) -> Mapping[str, int]:
        """How many events stand in each event state and deliveries in each delivery state."""

    async def sinks(self) -> Sequence[SinkRecord]:
        """All sinks of which the store knows anything, by name."""

    async def paces(self, *, now: datetime) -> Mapping[str, float]:
        """About how many deliveries a second each sink has settled over the last minute, by a sample; a sink that has
        settled none is not there."""

    async def end(self) -> int:
        """Where the ledger ends now: everything accepted later lies beyond this place, whatever the clock does."""

    async def tally(self, selection: Selection) -> Sequence[Tally]:
        """How many deliveries are meant, by sink, route and state."""

    async def selected(self, selection: Selection, *, after: int = 0, limit: int) -> Step[Sequence[EventRecord]]:
        """The events that are meant, in the order of acceptance, whether they have deliveries or not: what a selection
        says of deliveries (sink, route, state) does not matter here."""


class Live(Protocol):
    """A store as it changes, for those who look on. Each call is one short read, whatever the store holds, and none
    keeps anybody who works on the store from anything."""

    async def place(self, since: datetime | None = None) -> int:
        """Where the ledger ends now; with a moment, where what was accepted then or later begins. What `arrived` goes
        on from."""

    async def arrived(self, selection: Selection, *, after: int, limit: int) -> Step[Sequence[Arrival]]:
        """Of the next `limit` events behind a place those that are meant, in the order of acceptance. `next` is the
        place to go on from; None: there are no more. What the selection says of states does not matter."""

    async def waiting(self, selection: Selection, *, limit: int) -> Mapping[int, int]:
        """Of the `limit` pending deliveries of each sink that come due first those that are meant: how many attempts
        of each have ended, by its id."""

    async def moved(self, ended: Mapping[int, int]) -> Sequence[DeliveryRecord]:
        """Of these deliveries those that are settled, or of which more attempts have ended than that."""

    async def close(self) -> None:
        """Let go of the store."""


class Origin(Protocol):
    """A store that is copied, as it was when it was opened. Nobody may work on it meanwhile."""

    async def counts(self) -> Mapping[str, int]:
        """How much there is, by kind."""

    def rows(self, table: str) -> AsyncIterator[Sequence[tuple[object, ...]]]:
        """All rows of a table, in steps that fit into memory."""

    async def check(self) -> None:
        """Raises StoreUnusable if a relay works on it now."""

    async def close(self) -> None:
        """Let go of the store."""


class Copy(Protocol):
    """A store that another is copied into. No relay opens it before `finish`."""

    async def begin(self) -> None:
        """Start from nothing; what a copy that was not finished has left is thrown away."""

    async def put(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write these rows in one commit, with the numbers that they have."""

    async def counts(self) -> Mapping[str, int]:
        """How much there is, by kind."""

    async def finish(self) -> None:
        """Make it a store like any other, durably. Raises StoreUnusable if a relay works on it."""

    async def close(self) -> None:
        """Let go of the store."""


class Operator(Protocol):
    """The half of the store with which people change their minds. Each call is one short commit."""

    async def replay(
        self, selection: Selection, *, now: datetime, first_at: datetime, spacing: timedelta, after: int = 0, limit: int
    ) -> Step[int]:
        """Make the deliveries that are meant pending once more, the oldest first; how many.

        Settled ones get a whole new budget of attempts and the mark of a replay; the first is due at `first_at`, each
        later one `spacing` after the one before. Pending ones come due now, unless somebody is at work on them.
        """

    async def redeliver(
        self,
        wanted: Sequence[tuple[str, Sequence[Target]]],
        *,
        states: Set[DeliveryState],
        now: datetime,
        first_at: datetime,
        spacing: timedelta,
        config: str,
    ) -> Redelivered:
        """Give each of these events, named by its id, the deliveries that it lacks, marked as replays; and replay
        those that it has and that stand in `states`, as `replay` does. All in one commit, in the order given.

        An event that stood as unrouted or quarantined is routed once it has a delivery.
        """

    async def wish(self, sink: str, wish: Wish) -> None:
        """Pause a sink or resume it, on every relay that runs it."""


class Store(Intake, Outbox, Switchboard, Ledger, Operator, Protocol):
    """All of it, and its lifetime."""

    async def recover(self, *, now: datetime) -> int:
        """Be at work on the store from now on, and give back the leases of processes that are gone, so that nobody
        waits until those run out; how many there were."""

    async def release(self, owner: str, *, now: datetime) -> int:
        """Give back the leases of the one who opened the store under this name, and who is gone for certain; how many
        there were."""

    async def shared_time(self) -> datetime | None:
        """What time it is by the one clock that all nodes share; None where they share the machine's."""

    def wake(self, sink: str) -> None:
        """End the sink's `wait`: another process has written something that may have come due."""

    async def bring_forward(self, sink: str, *, now: datetime, longest: timedelta, limit: int) -> int:
        """Make deliveries due `longest` from `now` that would come due later still (replays: later than that after the
        moment for which they were planned): a clock that was ahead wrote them. `limit` at most in one commit; how many
        there were."""

    async def purge(
        self, *, delivered_before: datetime, dead_before: datetime, after: int = 0, limit: int
    ) -> Step[int]:
        """Look at the next `limit` events that are old enough, and forget those that are settled and older than their
        retention; how many were forgotten."""

    def health(self) -> Health:
        """How it was a moment ago; at once, whatever the disk does."""

    async def failed(self) -> StoreUnavailable:
        """Return when the store has given up for good; the process should end then, and recover at its next start."""

    def on_commit(self, listener: Callable[[float], None]) -> None:
        """Call the listener in the event loop with the seconds that each commit took."""

    def on_recover(self, listener: Callable[[int], None]) -> None:
        """Call the listener in the event loop with how many leases of a process that is gone were given back, where
        that is found out while this one works."""

    def on_checkpoint(self, listener: Callable[[Checkpoint], None]) -> None:
        """Call the listener in the event loop with how each checkpoint ended, where there are any."""

    async def close(self) -> None:
        """Finish what was begun and let go of the file or the connections."""
