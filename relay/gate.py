"""Whether a sink may be tried: closed while it fails, or while it needs a person. A pure state machine.

Two things close a gate. The *breaker* opens after failures in a row that may pass by themselves; a *pause* follows from
a failure that no retry heals (a revoked token, an unknown topic). Either way the sink's backlog stays, no attempts are
burnt, and now and then one delivery is let through as a probe: if it succeeds, the gate is open again. A pause by a
person lets nothing through until a person ends it.
"""

from __future__ import annotations

from collections import deque
from datetime import timedelta
from math import inf

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Failure, GateState, Reason, value

BREAKER_FAILURES = 5
"""So many retryable failures in a row, without a success between them, open the breaker."""
SUSPECT_EVENTS = 3
"""So many different events in a row, refused in a way that may be the event's fault, show that it is the sink's."""


@value
class Wait:
    """How long a closed gate waits before its next probe: doubling from `first` to `longest`, in seconds."""

    first: float
    longest: float


BREAKER_WAIT = Wait(first=1.0, longest=60.0)
PAUSE_WAIT = Wait(first=15.0, longest=900.0)


class Gate:
    """One sink's gate. `now` is monotonic seconds."""

    def __init__(self) -> None:
        self.state = GateState.OPEN
        self.failure: Failure | None = None
        """Why it is closed."""
        self._failures_in_a_row = 0
        self._suspects: deque[str] = deque(maxlen=SUSPECT_EVENTS)
        self._probes_failed = 0
        self._probe_at = 0.0
        self._under_way = 0
        self._held_until = 0.0
        self._by_hand: Failure | None = None
        """Set while a person has paused the sink."""
        self._crashed: deque[str] = deque(maxlen=SUSPECT_EVENTS)
        self.held_seconds = 0.0
        """How long it was left alone because it asked for that, all in all."""

    def allowance(self, free: int, now: float) -> int:
        """How many deliveries may be begun now, of `free` that could be.

        A closed gate lets a probe through once nothing is under way any more, neither an earlier probe nor what was
        begun while it was open: what those find out comes first.
        """
        if now < self._held_until or self._by_hand is not None:
            return 0
        if self.state is GateState.OPEN:
            return free
        return 1 if free > 0 and self._under_way == 0 and now >= self._probe_at else 0

    def flows(self, now: float) -> bool:
        """Whether all that there are slots for may be begun, and not a probe alone."""
        return self.state is GateState.OPEN and now >= self._held_until and self._by_hand is None

    def wait(self, now: float) -> float:
        """Seconds until something may be tried again; zero for an open gate that nobody asked to wait."""
        if self._by_hand is not None:
            return inf
        closed = 0.0 if self.state is GateState.OPEN else self._probe_at - now
        return max(0.0, closed, self._held_until - now)

    def begun(self) -> None:
        """An attempt begins; exactly one of `succeeded`, `failed`, `crashed` and `cancelled` tells its end."""
        self._under_way += 1

    def succeeded(self) -> None:
        """The sink took a delivery: whatever closed the gate is over."""
        self._ended()
        self._open()

    def failed(self, event_id: str, error: DeliveryError, now: float, *, last: bool = False) -> None:
        """An attempt failed; the event's `last` one, if it is counted."""
        self._ended()
        match error:
            case Rejected() if error.failure.reason is Reason.TEMPLATE:
                pass  # refused by ourselves: the sink was not asked
            case Rejected() | Misconfigured(partly=True):  # the sink answered, and about this event or its like only
                self._open()
            case Misconfigured(certain=True):
                self._close(GateState.PAUSED, error.failure, PAUSE_WAIT, now)
            case Misconfigured():
                self._suspect(event_id, error.failure, now, last=last)
            case Unavailable(retry_after=timedelta() as wait):
                self._hold(wait.total_seconds(), error.failure, now)
            case _:
                self._suspects.clear()
                self._count(error.failure, now)

    def pause(self, failure: Failure) -> None:
        """A person pauses the sink: not even a probe goes out, and no success opens it."""
        self._by_hand = self.failure = failure
        self.state = GateState.PAUSED

    def crashed(self, event_id: str, failure: Failure, now: float) -> bool:
        """An attempt ended in an error of ours. Whether the event may be to blame.

        Where several different events crash and the sink takes nothing in between, it is no event's fault: the breaker
        opens, and none of them may be given up for it.
        """
        self._ended()
        if event_id not in self._crashed:
            self._crashed.append(event_id)
        alone = len(self._crashed) < SUSPECT_EVENTS
        self._trip(failure, now, enough=not alone)
        return alone

    def resume(self) -> None:
        """A person says that it is mended, whatever the sink itself asked for."""
        self._by_hand = None
        self._held_until = 0.0
        self._open()

    def cancelled(self) -> None:
        """An attempt ended without saying anything about the sink."""
        self._ended()

    def _ended(self) -> None:
        self._under_way = max(0, self._under_way - 1)

    def _suspect(self, event_id: str, failure: Failure, now: float, *, last: bool) -> None:
        """The third event in a row settles it; so does one that was refused before and has no attempt left, where the
        sink took nothing in between: in a meeting that keeps its order no other event comes to its turn."""
        again = event_id in self._suspects
        if not again:
            self._suspects.append(event_id)
        if self.state is GateState.PAUSED or len(self._suspects) == SUSPECT_EVENTS or (last and again):
            self._close(GateState.PAUSED, failure, PAUSE_WAIT, now)
        elif self.state is GateState.BROKEN:  # it answers again, but it took nothing yet
            self._close(GateState.BROKEN, failure, BREAKER_WAIT, now)

    def _hold(self, seconds: float, failure: Failure, now: float) -> None:
        """The sink says when. One that only ever puts us off counts as failing: once for each time that it was asked
        again, because many attempts may be put off at once."""
        asked_again = now >= self._held_until
        until = max(self._held_until, now + seconds)
        self.held_seconds += until - max(self._held_until, now)
        self._held_until = until
        if asked_again:
            self._count(failure, now)

    def _count(self, failure: Failure, now: float) -> None:
        self._failures_in_a_row += 1
        self._trip(failure, now, enough=self._failures_in_a_row >= BREAKER_FAILURES)

    def _trip(self, failure: Failure, now: float, *, enough: bool) -> None:
        """Open the breaker if it is enough; a gate that is closed already waits longer for its next probe."""
        if self.state is GateState.PAUSED:  # still unmended as far as anybody knows
            self._close(GateState.PAUSED, self.failure or failure, PAUSE_WAIT, now)
        elif self.state is GateState.BROKEN or enough:
            self._close(GateState.BROKEN, failure, BREAKER_WAIT, now)

    def _close(self, state: GateState, failure: Failure, wait: Wait, now: float) -> None:
        if self._by_hand is not None or (self.state is state and now < self._probe_at):
            return  # attempts that were under way when it closed tell nothing new
        if self.state is not state:
            self._probes_failed = 0
        self.state = state
        self.failure = failure
        self._probe_at = now + min(wait.first * 2**self._probes_failed, wait.longest)
        self._probes_failed = min(self._probes_failed + 1, 20)

    def _open(self) -> None:
        if self._by_hand is not None:
            return
        self.state = GateState.OPEN
        self.failure = None
        self._failures_in_a_row = 0
        self._suspects.clear()
        self._crashed.clear()
