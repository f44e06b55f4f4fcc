"""A lane: one sink's own claims, concurrency, time-out, rate, gate and retries.

It claims what is due, lets the sink deliver, decides what follows, and settles. Nothing of one lane is shared with any
other (but the pace of sinks that post to one place), so that a sink in trouble troubles nobody else. While a backlog
goes, it claims ahead, so that no slot waits for a commit; see docs/decisions/0022.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from random import Random

from relay.errors import StoreUnavailable
from relay.gate import Gate
from relay.lane.attempt import Attempts
from relay.lane.results import Results
from relay.lane.telling import Telling
from relay.leases import Leases
from relay.model import Delivery, Failure, Reason, Retry, Wish
from relay.options import LaneOptions
from relay.pace import Pace
from relay.ports import Clock, Outbox, Sink
from relay.seat import Seat
from relay.telemetry import Telemetry
from relay.waiting import happens, unless

_POLL = 1.0
"""Seconds between looks at the store when no hint comes; also the longest that a lost hint costs."""
_STORE_PAUSE = 1.0
"""Seconds to leave a store alone that could not do it."""
_UNSETTLED_PAUSE = 0.05
_AHEAD_FROM = 16
"""Lanes with fewer slots claim nothing ahead: whoever makes a lane narrow wants few to be out of others' reach."""
_SLICE = 32
"""So many attempts are begun before others in the event loop have their turn; a sender may be among them."""
_MOMENT = 0.05
"""Seconds; next to nothing beside a lease."""
_NEWEST_SHARE = 4
"""Of so many that are claimed one is the newest, not the oldest: what comes in waits for no backlog."""
_STOPPED = Failure(reason=Reason.STOPPING, detail="the relay stopped during the attempt")
_NOT_BEGUN = Failure(reason=Reason.STOPPING, detail="it was claimed, and given back before it was begun")


class Lane:
    """One sink's lane. `run` works until it is told to `stop`."""

    def __init__(
        self,
        name: str,
        sink: Sink,
        options: LaneOptions,
        outbox: Outbox,
        *,
        pace: Pace,
        seat: Seat,
        telemetry: Telemetry,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.name = name
        self.gate = Gate()
        self.seat = seat
        self._options = options
        self._outbox = outbox
        self._pace = pace
        self._telemetry = telemetry
        self._clock = clock
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        """An attempt ended, or the lane shall: what waits for a free slot looks again."""
        self._leases = Leases(length=options.lease, needed=options.timeout)
        self._attempts = Attempts(sink, options, self.gate, clock=clock, rng=rng)
        self._results = Results(
            outbox, stopping=self._stopping, on_settled=self._leases.settled, telemetry=telemetry, clock=clock
        )
        self._telling = Telling(name, self.gate, stopping=self._stopping, telemetry=telemetry)
        self._group: asyncio.TaskGroup
        self._loop: asyncio.AbstractEventLoop
        self._at_work: set[asyncio.Task[None]] = set()
        self._running = False
        self._wish: Wish | None = None
        self._begun = 0
        """Attempts that were begun in this turn of the event loop."""
        self._look_again, self._looked = float("-inf"), clock.steady()
        self._more = False
        """Whether more was due than the last claim took."""
        self._tenure = outbox.tenure
        """Under which was claimed what waits."""

    async def run(self) -> None:
        """Claim, deliver, settle, until stopped; then finish what is under way."""
        self._telling.begin(seated=self.seated)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._results.settle_regularly(), name=f"settle-{self.name}")
            self._group, self._loop, self._running = group, asyncio.get_running_loop(), True
            try:
                await self._claim_regularly()
            finally:  # whatever ends it, nothing more is begun
                self._stopping.set()
                self._running = False
            self._give_back_waiting(_NOT_BEGUN)
            if self._at_work:
                await asyncio.wait(self._at_work)
            self._results.end()
        await self._results.settle_last()

    def stop(self) -> None:
        """Begin nothing new; what is under way ends within its time-out."""
        self._stopping.set()
        self._changed.set()

    def obey(self, wish: Wish) -> None:
        """Pause or resume the sink as people want it. Each wish counts once: a failure may close the gate again."""
        if wish == self._wish:
            return
        self._wish = wish
        if wish.paused:
            detail = f"by hand, at {wish.at:%Y-%m-%d %H:%M:%S} UTC; `relay sinks resume {self.name}` ends it"
            self.gate.pause(Failure(reason=Reason.PAUSED, detail=detail))
            self._begin()
        else:
            self.gate.resume()
        self._telling.tell(seated=self.seated)

    @property
    def seated(self) -> bool:
        """Whether it is this node's to deliver to the sink now."""
        if not self.seat.needed:
            return True
        self._clock.steady()  # a jump that nobody has seen yet puts the seat in doubt
        return self.seat.ours(asyncio.get_running_loop().time())

    def look_again(self) -> None:
        """It may have got its seat, or lost it."""
        if self._running:
            self._begin()
            self._telling.tell(seated=self.seated)
            self._changed.set()

    def abort(self) -> None:
        """Interrupt what is under way; the leases are given back."""
        for task in self._at_work:
            task.cancel()

    async def _claim_regularly(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            wanted = self._wanted(self._clock.steady())
            if wanted <= 0:
                await self._until_allowed()
            elif await self._claim(wanted) < wanted:
                await self._until_due()

    def _wanted(self, now: datetime) -> int:
        """How many are to be claimed now."""
        if self._results.full or self._leases.outlived(now) or not self._may_begin:
            return 0
        seconds = self._loop.time()
        free = self._options.concurrency - len(self._at_work) - self._leases.waiting
        if not self._claims_ahead(seconds):
            return self._pace.allowance(self.gate.allowance(free, seconds), seconds)
        ahead = self._options.concurrency
        return free + ahead if 2 * (free + ahead) >= ahead else 0  # in gulps: each claim is a commit

    def _claims_ahead(self, seconds: float) -> bool:
        """Whether more than there are slots for may be claimed: begun within a time-out, or given back at once."""
        wide = self._options.concurrency >= _AHEAD_FROM and not self._pace.limited
        return self._more and wide and self.gate.flows(seconds)

    @property
    def _may_begin(self) -> bool:
        """Whether no other node can be at work on what this one would begin, nor on the sink's limit."""
        return self.seated and self._tenured and not self._clock.doubtful

    @property
    def _tenured(self) -> bool:
        return self._tenure is not None and self._outbox.tenure == self._tenure

    async def _claim(self, wanted: int) -> int:
        """Claim up to so many; how many there were."""
        lease, now = self._options.lease, self._clock.steady()
        self._pace.took(wanted, self._loop.time())  # before anything is awaited: another lane may share the pace
        claimed: Sequence[Delivery] = ()
        try:
            claimed = await self._outbox.claim(
                self.name,
                limit=wanted,
                newest=wanted // _NEWEST_SHARE,
                now=now,
                lease=lease,
                seat=self.seat.place if self.seat.needed else None,
            )
        except StoreUnavailable as error:
            self._telemetry.store_failed(error.kind, str(error))
            await happens(self._stopping, within=_STORE_PAUSE)
        finally:
            self._pace.took(len(claimed) - wanted, self._loop.time())
        self._more = len(claimed) == wanted
        self._leases.claimed(claimed, at=now)
        self._begin()
        return len(claimed)

    def _begin(self) -> None:
        """Begin what is claimed, as far as there are slots for it, and not too much in one turn. A gate that has closed
        meanwhile lets at most a probe through; then the others are for whoever comes first when it opens. So they are
        where another node has the seat by now."""
        if not self._leases.waiting or self._stopping.is_set():
            return
        seconds = self._loop.time()
        allowed = self.gate.allowance(self._options.concurrency - len(self._at_work), seconds)
        while allowed > 0 and (delivery := self._next()) is not None:
            task = self._group.create_task(self._work(delivery))
            self._at_work.add(task)
            task.add_done_callback(self._work_ended)
            allowed -= 1
        if not self.gate.flows(seconds) or not self.seated or not self._tenured:
            self._give_back_waiting(_NOT_BEGUN)

    async def _work(self, delivery: Delivery | None) -> None:
        """One attempt, and further ones while what was claimed ahead waits: a task for each would cost more."""
        while delivery is not None:
            await self._attempt(delivery)
            delivery = self._next() if self.gate.flows(self._loop.time()) else None

    def _next(self) -> Delivery | None:
        """The next one of those that wait, begun as far as the gate is concerned; None if it is others' turn first."""
        while self._leases.waiting and self._begun < _SLICE and self._may_begin and not self._stopping.is_set():
            delivery = self._leases.next()
            if 2 * self._leases.waiting <= self._options.concurrency:
                self._changed.set()  # time to claim again
            self._count_begun()
            if self._leases.lasts(delivery, self._recently()):
                self.gate.begun()
                return delivery
            self._give_back(delivery, _NOT_BEGUN)
        return None

    def _count_begun(self) -> None:
        if self._begun == 0:
            self._loop.call_soon(self._turn_over)
        self._begun += 1

    def _turn_over(self) -> None:
        """Others in the event loop have had theirs."""
        self._begun = 0
        self._begin()

    def _recently(self) -> datetime:
        """What time it was at most a moment ago: to look for each of thousands would cost more than to begin it."""
        seconds = self._loop.time()
        if seconds >= self._look_again:
            self._looked, self._look_again = self._clock.steady(), seconds + _MOMENT
        return self._looked

    def _work_ended(self, task: asyncio.Task[None]) -> None:
        self._at_work.discard(task)
        if not task.cancelled():
            self._begin()
        self._changed.set()

    async def _until_allowed(self) -> None:
        """Wait for the seat, the gate, the pace or a free slot, whichever is in the way."""
        if not self.seated:  # nothing to ask the store for; it is told when that changes
            self._begin()
            await happens(self._changed, within=_POLL)
            return
        if self._clock.doubtful or not self._tenured:
            await happens(self._stopping, within=_UNSETTLED_PAUSE)
            self._begin()
            self._tenure = self._outbox.tenure  # nothing that was claimed before waits any more
            return
        now = self._loop.time()
        closed = max(self.gate.wait(now), self._pace.wait(now))
        at_work = self._at_work or self._leases.waiting
        if self._results.full or (self._leases.held and not at_work):
            await happens(self._stopping, within=_UNSETTLED_PAUSE)
        elif closed > 0 or not at_work:
            await happens(self._stopping, within=min(max(closed, 0.001), _POLL))
        else:  # every slot is taken, or the probe is under way
            await self._changed.wait()

    async def _until_due(self) -> None:
        """Wait until something may have come due."""
        try:
            due = await self._outbox.next_due(self.name)
        except StoreUnavailable:
            due = None
        seconds = _POLL if due is None else (due - self._clock.steady()).total_seconds()
        await unless(self._stopping, self._outbox.wait(self.name, timeout=min(_POLL, max(0.001, seconds))))

    async def _attempt(self, delivery: Delivery) -> None:
        """Deliver once, and note what follows. Never raises but when it is cancelled at the end of the drain."""
        started = self._loop.time()
        try:
            verdict = await self._attempts.make(delivery)
        except asyncio.CancelledError:
            self._give_back(delivery, _STOPPED)
            self.gate.cancelled()
            raise
        self._telling.tell(seated=self.seated)
        self._telemetry.delivery_attempted(delivery, verdict, self._loop.time() - started)
        self._results.note(delivery, verdict)

    def _give_back(self, delivery: Delivery, why: Failure) -> None:
        """End the lease at once; nothing was learnt, and nothing is burnt."""
        self._results.note(delivery, Retry(failure=why, at=self._clock.steady(), counted=False))

    def _give_back_waiting(self, why: Failure) -> None:
        while self._leases.waiting:
            self._give_back(self._leases.next(), why)
