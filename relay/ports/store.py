"""The store, as each of those sees it who use it; and all of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
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
from relay.records import (
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
