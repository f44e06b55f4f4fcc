"""A lane: one sink's own claims, concurrency, time-out, rate, gate and retries.

It claims what is due, lets the sink deliver, decides what follows, and settles. Nothing of one lane is shared with any
other (but the pace of sinks that post to one place), so that a sink in trouble troubles nobody else. While a backlog
goes, it claims ahead, so that no slot waits for a commit; see docs/decisions/0022.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from random import Random

from relay.deadlines import Deadlines
from relay.errors import DeliveryError, Misconfigured, StoreUnavailable, Unavailable
from relay.gate import Gate
from relay.leases import Leases
from relay.model import Dead, Delivered, Delivery, Failure, GateState, Reason, Retry, Settled, Verdict, Wish
from relay.options import LaneOptions
from relay.pace import Pace
from relay.ports import Clock, Outbox, Sink
from relay.representation import Shape, represent
from relay.retry import decide
from relay.seat import Seat
from relay.telemetry import Telemetry

log = logging.getLogger("relay")

_POLL = 1.0
"""Seconds between looks at the store when no hint comes; also the longest that a lost hint costs."""
_STORE_PAUSE = 1.0
"""Seconds to leave a store alone that could not do it."""
_LAST_TRIES = 2
"""How often a lane that ends offers its last results again to a store that could not take them."""
_MOST_UNSETTLED = 1000
"""Results that may wait for the store; with more, nothing is begun. Far above what waits for one commit."""
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
        self._sink = sink
        self._options = options
        self._shape = Shape.of(options)
        self._shaped = not self._shape.changes_nothing
        self._outbox = outbox
        self._pace = pace
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        """An attempt ended, or the lane shall: what waits for a free slot looks again."""
        self._deadlines = Deadlines(options.timeout.total_seconds())
        self._group: asyncio.TaskGroup
        self._loop: asyncio.AbstractEventLoop
        self._attempts: set[asyncio.Task[None]] = set()
        self._results: list[Settled] = []
        self._settled = asyncio.Event()
        self._running = self._ended = False
        self._told: GateState | None = self.gate.state
        self._wish: Wish | None = None
        self._held_told = 0.0
        self._crashes: Counter[int] = Counter()
        """How often a delivery that is not settled crashed in here."""
        self._leases = Leases(length=options.lease, needed=options.timeout)
        self._begun = 0
        """Attempts that were begun in this turn of the event loop."""
        self._look_again, self._looked = float("-inf"), clock.steady()
        self._more = False
        """Whether more was due than the last claim took."""

    async def run(self) -> None:
        """Claim, deliver, settle, until stopped; then finish what is under way."""
        self._told = self._shown
        self._telemetry.sink_state(self.name, self._told, self.gate.failure)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_regularly(), name=f"settle-{self.name}")
            self._group, self._loop, self._running = group, asyncio.get_running_loop(), True
            try:
                await self._claim_regularly()
            finally:  # whatever ends it, nothing more is begun
                self._stopping.set()
                self._running = False
            self._give_back_waiting(_NOT_BEGUN)
            if self._attempts:
                await asyncio.wait(self._attempts)
            self._ended = True
            self._settled.set()  # the settler ends by itself: a settle that is cancelled may be recorded all the same
        await self._settle()
        for _ in range(_LAST_TRIES):
            if self._results:
                await asyncio.sleep(_STORE_PAUSE)
                await self._settle()

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
        self._tell_gate()

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
            self._tell_gate()
            self._changed.set()

    def abort(self) -> None:
        """Interrupt what is under way; the leases are given back."""
        for task in self._attempts:
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
        if len(self._results) >= _MOST_UNSETTLED or self._leases.outlived(now) or not self._may_begin:
            return 0
        seconds = self._loop.time()
        free = self._options.concurrency - len(self._attempts) - self._leases.waiting
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
        return self.seated and not self._clock.doubtful

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
            await self._pause(_STORE_PAUSE)
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
        allowed = self.gate.allowance(self._options.concurrency - len(self._attempts), seconds)
        while allowed > 0 and (delivery := self._next()) is not None:
            task = self._group.create_task(self._work(delivery))
            self._attempts.add(task)
            task.add_done_callback(self._work_ended)
            allowed -= 1
        if not self.gate.flows(seconds) or not self.seated:
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
        self._attempts.discard(task)
        if not task.cancelled():
            self._begin()
        self._changed.set()

    async def _until_allowed(self) -> None:
        """Wait for the seat, the gate, the pace or a free slot, whichever is in the way."""
        if not self.seated:  # nothing to ask the store for; it is told when that changes
            self._begin()
            await self._moved(_POLL)
            return
        if self._clock.doubtful:
            await self._pause(_UNSETTLED_PAUSE)
            self._begin()
            return
        now = self._loop.time()
        closed = max(self.gate.wait(now), self._pace.wait(now))
        at_work = self._attempts or self._leases.waiting
        if len(self._results) >= _MOST_UNSETTLED or (self._leases.held and not at_work):
            await self._pause(_UNSETTLED_PAUSE)
        elif closed > 0 or not at_work:
            await self._pause(min(max(closed, 0.001), _POLL))
        else:  # every slot is taken, or the probe is under way
            await self._changed.wait()

    async def _until_due(self) -> None:
        """Wait until something may have come due."""
        try:
            due = await self._outbox.next_due(self.name)
        except StoreUnavailable:
            due = None
        seconds = _POLL if due is None else (due - self._clock.steady()).total_seconds()
        await self._or_stop(self._outbox.wait(self.name, timeout=min(_POLL, max(0.001, seconds))))

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _moved(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _or_stop(self, waiting: Coroutine[object, object, object]) -> None:
        """Wait for this, or for the stop."""
        tasks = [asyncio.create_task(waiting), asyncio.create_task(self._stopping.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt(self, delivery: Delivery) -> None:
        """Deliver once, and note what follows. Never raises but when it is cancelled at the end of the drain."""
        started = self._loop.time()
        probe = self.gate.state is not GateState.OPEN
        try:
            verdict = await self._deliver(delivery, probe=probe)
        except asyncio.CancelledError:
            self._give_back(delivery, _STOPPED)
            self.gate.cancelled()
            raise
        if self._crashes and not isinstance(verdict, Retry):
            del self._crashes[delivery.id]
        self._tell_gate()
        self._telemetry.delivery_attempted(delivery, verdict, self._loop.time() - started)
        self._note(delivery, verdict)

    async def _deliver(self, delivery: Delivery, *, probe: bool) -> Verdict:
        if delivery.tries > self._options.retry.max_attempts:
            return self._lost(delivery)
        try:
            result = await self._ask(delivery)
        except Exception as error:
            log.exception("delivery.crashed", extra=delivery.log_context())
            return self._crashed(delivery, error)
        if isinstance(result, str):
            return Delivered(receipt=result)
        # A probe asks about the sink and burns nothing, nor does the attempt that shows that it is the sink's fault.
        shown = isinstance(result, Misconfigured) and self.gate.state is GateState.PAUSED
        return self._decide(delivery, result, free=probe or shown)

    def _crashed(self, delivery: Delivery, error: Exception) -> Verdict:
        """A bug of ours, or of a library. It may be this event's shape, so it must end, also as a probe; but not where
        all events crash alike."""
        crash = Unavailable(Reason.POISON, f"{type(error).__name__} inside the relay; see the log")
        if not self.gate.crashed(delivery.event.id, crash.failure, self._loop.time()):
            return self._decide(delivery, crash, free=True)
        self._crashes[delivery.id] += 1
        return self._decide(delivery, crash, free=False, crashes=self._crashes[delivery.id])

    async def _ask(self, delivery: Delivery) -> str | DeliveryError:
        """Let the sink deliver, and the gate know. A receipt, or why there is none."""
        try:
            receipt = await self._within_time(represent(delivery, self._shape) if self._shaped else delivery)
        except DeliveryError as error:
            last = delivery.tries >= self._options.retry.max_attempts
            self.gate.failed(delivery.event.id, error, self._loop.time(), last=last)
            return error
        self.gate.succeeded()
        return receipt

    def _decide(self, delivery: Delivery, error: DeliveryError, *, free: bool, crashes: int = 0) -> Verdict:
        judged = replace(delivery, tries=delivery.tries - 1) if free else delivery
        options, now, age = self._options.retry, self._clock.steady(), self._clock.age(delivery.owed_since)
        verdict = decide(options, judged, error, now=now, age=age, rng=self._rng, crashes=crashes)
        return replace(verdict, counted=False) if free and isinstance(verdict, Retry) else verdict

    def _lost(self, delivery: Delivery) -> Dead:
        """Every attempt was begun, and the last ones never ended: they took the process with them."""
        self.gate.cancelled()
        most = self._options.retry.max_attempts
        detail = (
            f"{delivery.tries - 1} attempts were begun, and retry.max_attempts is {most}: "
            "it was lowered, or the last ones never ended because the relay died"
        )
        return Dead(failure=Failure(reason=Reason.EXHAUSTED, detail=detail))

    @property
    def _shown(self) -> GateState | None:
        return self.gate.state if self.seated else None  # else another node's to tell

    def _tell_gate(self) -> None:
        if self.gate.held_seconds > self._held_told:
            self._telemetry.sink_throttled(self.name, self.gate.held_seconds - self._held_told)
            self._held_told = self.gate.held_seconds
        if self._shown is not self._told and not self._stopping.is_set():  # else another lane's to tell
            self._told = self._shown
            self._telemetry.sink_state(self.name, self._told, self.gate.failure)

    def _give_back(self, delivery: Delivery, why: Failure) -> None:
        """End the lease at once; nothing was learnt, and nothing is burnt."""
        self._note(delivery, Retry(failure=why, at=self._clock.steady(), counted=False))

    def _give_back_waiting(self, why: Failure) -> None:
        while self._leases.waiting:
            self._give_back(self._leases.next(), why)

    async def _within_time(self, delivery: Delivery) -> str:
        task = self._deadlines.begin()
        try:
            return await self._sink.deliver(delivery)
        except asyncio.CancelledError as error:
            if self._deadlines.passed(task):
                limit = f"{self._options.timeout.total_seconds():g} s"
                detail = f"no result within {limit}; it may have arrived all the same"
                raise Unavailable(Reason.TIMEOUT, detail) from error
            if task.cancelling():
                raise
            raise Unavailable(Reason.RESET, "the sink's client gave up by itself; it may have arrived") from error
        finally:
            self._deadlines.end(task)

    def _note(self, delivery: Delivery, verdict: Verdict) -> None:
        self._results.append((delivery, verdict))
        self._settled.set()

    async def _settle_regularly(self) -> None:
        while not self._ended:
            await self._settled.wait()
            self._settled.clear()
            await self._settle()

    async def _settle(self) -> None:
        """Record all results that wait, in one go; keep them where the store cannot take them now."""
        results, self._results = self._results, []
        if not results:
            return
        try:
            recorded = await self._outbox.settle(results, now=self._clock.stamp())
        except StoreUnavailable as error:
            self._telemetry.store_failed(error.kind, str(error))
            self._results = results + self._results
            if not self._stopping.is_set():  # at the end the leases run out by themselves
                await self._pause(_STORE_PAUSE)
                self._settled.set()
            return
        except asyncio.CancelledError:
            self._results = results + self._results
            raise
        now = self._clock.stamp()
        for (delivery, verdict), done in zip(results, recorded, strict=True):
            self._leases.settled(delivery)
            self._telemetry.delivery_settled(delivery, verdict, recorded=done, now=now)
