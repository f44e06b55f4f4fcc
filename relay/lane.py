"""A lane: one sink's own claims, concurrency, time-out, rate, gate and retries.

It claims what is due, lets the sink deliver, decides what follows, and settles. Nothing of one lane is shared with any
other (but the pace of sinks that post to one place), so that a sink in trouble troubles nobody else.
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

from relay.errors import DeliveryError, Misconfigured, StoreUnavailable, Unavailable
from relay.gate import Gate
from relay.model import Dead, Delivered, Delivery, Failure, GateState, Reason, Retry, Settled, Verdict, Wish
from relay.options import LaneOptions
from relay.pace import Pace
from relay.ports import Clock, Outbox, Sink
from relay.representation import Shape, represent
from relay.retry import decide
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
        telemetry: Telemetry,
        clock: Clock,
        rng: Random,
    ) -> None:
        self.name = name
        self.gate = Gate()
        self._sink = sink
        self._options = options
        self._shape = Shape.of(options)
        self._outbox = outbox
        self._pace = pace
        self._telemetry = telemetry
        self._clock = clock
        self._rng = rng
        self._stopping = asyncio.Event()
        self._attempts: set[asyncio.Task[None]] = set()
        self._results: list[Settled] = []
        self._settled = asyncio.Event()
        self._ended = False
        self._told = self.gate.state
        self._wish: Wish | None = None
        self._held_told = 0.0
        self._crashes: Counter[int] = Counter()
        """How often a delivery that is not settled crashed in here."""
        self._leased: dict[int, datetime] = {}
        """Until when what is under way, or not settled yet, is ours; the oldest first."""

    async def run(self) -> None:
        """Claim, deliver, settle, until stopped; then finish what is under way."""
        self._telemetry.sink_state(self.name, self.gate.state, self.gate.failure)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._settle_regularly(), name=f"settle-{self.name}")
            while not self._stopping.is_set():
                now = self._clock.steady()
                allowed = self._allowance(now)
                if allowed <= 0:
                    await self._until_allowed()
                elif await self._begin(allowed, now, group) < allowed:
                    await self._until_due()
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

    def obey(self, wish: Wish) -> None:
        """Pause or resume the sink as people want it. Each wish counts once: a failure may close the gate again."""
        if wish == self._wish:
            return
        self._wish = wish
        if wish.paused:
            detail = f"by hand, at {wish.at:%Y-%m-%d %H:%M:%S} UTC; `relay sinks resume {self.name}` ends it"
            self.gate.pause(Failure(reason=Reason.PAUSED, detail=detail))
        else:
            self.gate.resume()
        self._tell_gate()

    def abort(self) -> None:
        """Interrupt what is under way; the leases are given back."""
        for task in self._attempts:
            task.cancel()

    def _allowance(self, now: datetime) -> int:
        """How many attempts may be begun now."""
        if len(self._results) >= _MOST_UNSETTLED or self._outlived(now):
            return 0
        seconds = asyncio.get_running_loop().time()
        free = self._options.concurrency - len(self._attempts)
        return self._pace.allowance(self.gate.allowance(free, seconds), seconds)

    def _outlived(self, now: datetime) -> bool:
        """Whether a lease of ours has run out under our hands: the clock jumped, or the process was stopped for long.

        A claim would take what is still under way once more; it ends within its time-out, and then all is well again.
        """
        return next(iter(self._leased.values()), now + self._options.lease) <= now

    async def _begin(self, allowed: int, now: datetime, group: asyncio.TaskGroup) -> int:
        """Claim up to so many and begin to deliver them; how many there were."""
        lease = self._options.lease
        loop = asyncio.get_running_loop()
        self._pace.took(allowed, loop.time())  # before anything is awaited: another lane may share the pace
        claimed: Sequence[Delivery] = ()
        try:
            claimed = await self._outbox.claim(self.name, limit=allowed, now=now, lease=lease)
        except StoreUnavailable as error:
            self._telemetry.store_failed(error.kind, str(error))
            await self._pause(_STORE_PAUSE)
        finally:
            self._pace.took(len(claimed) - allowed, loop.time())
        for delivery in claimed:
            self._leased[delivery.id] = now + lease
            if self._stopping.is_set():
                self._give_back(delivery)
            else:
                self._start(delivery, group)
        return len(claimed)

    def _start(self, delivery: Delivery, group: asyncio.TaskGroup) -> None:
        self.gate.begun()
        task = group.create_task(self._attempt(delivery), name=f"attempt-{self.name}")
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _until_allowed(self) -> None:
        """Wait for the gate, the pace or a free slot, whichever is in the way."""
        now = asyncio.get_running_loop().time()
        closed = max(self.gate.wait(now), self._pace.wait(now))
        if len(self._results) >= _MOST_UNSETTLED or (self._leased and not self._attempts):
            await self._pause(_UNSETTLED_PAUSE)
        elif closed > 0 or not self._attempts:
            await self._pause(min(max(closed, 0.001), _POLL))
        else:  # every slot is taken, or the probe is under way
            await self._or_stop(asyncio.wait(self._attempts, return_when=asyncio.FIRST_COMPLETED))

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
        loop = asyncio.get_running_loop()
        started = loop.time()
        probe = self.gate.state is not GateState.OPEN
        try:
            verdict = await self._deliver(delivery, probe=probe)
        except asyncio.CancelledError:
            self._give_back(delivery)
            self.gate.cancelled()
            raise
        if not isinstance(verdict, Retry):
            del self._crashes[delivery.id]
        self._tell_gate()
        self._telemetry.delivery_attempted(delivery, verdict, loop.time() - started)
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
        if not self.gate.crashed(delivery.event.id, crash.failure, asyncio.get_running_loop().time()):
            return self._decide(delivery, crash, free=True)
        self._crashes[delivery.id] += 1
        return self._decide(delivery, crash, free=False, crashes=self._crashes[delivery.id])

    async def _ask(self, delivery: Delivery) -> str | DeliveryError:
        """Let the sink deliver, and the gate know. A receipt, or why there is none."""
        try:
            represented = represent(delivery, self._shape)
            receipt = await self._within_time(represented)
        except DeliveryError as error:
            last = delivery.tries >= self._options.retry.max_attempts
            self.gate.failed(delivery.event.id, error, asyncio.get_running_loop().time(), last=last)
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

    def _tell_gate(self) -> None:
        if self.gate.held_seconds > self._held_told:
            self._telemetry.sink_throttled(self.name, self.gate.held_seconds - self._held_told)
            self._held_told = self.gate.held_seconds
        if self.gate.state is not self._told and not self._stopping.is_set():  # else another lane's to tell
            self._told = self.gate.state
            self._telemetry.sink_state(self.name, self.gate.state, self.gate.failure)

    def _give_back(self, delivery: Delivery) -> None:
        """End the lease at once; nothing was learnt, and nothing is burnt."""
        failure = Failure(reason=Reason.STOPPING, detail="the relay stopped during the attempt")
        self._note(delivery, Retry(failure=failure, at=self._clock.steady(), counted=False))

    async def _within_time(self, delivery: Delivery) -> str:
        try:
            async with asyncio.timeout(self._options.timeout.total_seconds()):
                return await self._sink.deliver(delivery)
        except TimeoutError as error:
            detail = f"no result within {self._options.timeout.total_seconds():g} s; it may have arrived all the same"
            raise Unavailable(Reason.TIMEOUT, detail) from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is None or task.cancelling():
                raise
            raise Unavailable(Reason.RESET, "the sink's client gave up by itself; it may have arrived") from error

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
            recorded = await self._outbox.settle(results, now=self._clock.now())
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
        now = self._clock.now()
        for (delivery, verdict), done in zip(results, recorded, strict=True):
            self._leased.pop(delivery.id, None)
            self._telemetry.delivery_settled(delivery, verdict, recorded=done, now=now)
