"""One attempt: the sink is asked within its time, and what came of it is judged."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import replace
from random import Random

from relay.deadlines import Deadlines
from relay.errors import DeliveryError, Misconfigured, Unavailable
from relay.gate import Gate
from relay.model import Dead, Delivered, Delivery, Failure, GateState, Reason, Retry, Verdict
from relay.options import LaneOptions
from relay.ports import Clock, Sink
from relay.representation import Shape, represent
from relay.retry import decide

log = logging.getLogger("relay")


class Attempts:
    """Of one lane. Each tells the gate how it went."""

    def __init__(self, sink: Sink, options: LaneOptions, gate: Gate, *, clock: Clock, rng: Random) -> None:
        self._sink = sink
        self._options = options
        self._gate = gate
        self._clock = clock
        self._rng = rng
        self._shape = Shape.of(options)
        self._shaped = not self._shape.changes_nothing
        self._deadlines = Deadlines(options.timeout.total_seconds())
        self._crashes: Counter[int] = Counter()
        """How often a delivery that is not settled crashed in here."""

    async def make(self, delivery: Delivery) -> Verdict:
        """Deliver once; what follows. Never raises but when it is cancelled."""
        probe = self._gate.state is not GateState.OPEN
        verdict = await self._deliver(delivery, probe=probe)
        if self._crashes and not isinstance(verdict, Retry):
            del self._crashes[delivery.id]
        return verdict

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
        shown = isinstance(result, Misconfigured) and self._gate.state is GateState.PAUSED
        return self._decide(delivery, result, free=probe or shown)

    def _crashed(self, delivery: Delivery, error: Exception) -> Verdict:
        """A bug of ours, or of a library. It may be this event's shape, so it must end, also as a probe; but not where
        all events crash alike."""
        crash = Unavailable(Reason.POISON, f"{type(error).__name__} inside the relay; see the log")
        if not self._gate.crashed(delivery.event.id, crash.failure, asyncio.get_running_loop().time()):
            return self._decide(delivery, crash, free=True)
        self._crashes[delivery.id] += 1
        return self._decide(delivery, crash, free=False, crashes=self._crashes[delivery.id])

    async def _ask(self, delivery: Delivery) -> str | DeliveryError:
        """Let the sink deliver, and the gate know. A receipt, or why there is none."""
        try:
            receipt = await self._within_time(represent(delivery, self._shape) if self._shaped else delivery)
        except DeliveryError as error:
            last = delivery.tries >= self._options.retry.max_attempts
            self._gate.failed(delivery.event.id, error, asyncio.get_running_loop().time(), last=last)
            return error
        self._gate.succeeded()
        return receipt

    def _decide(self, delivery: Delivery, error: DeliveryError, *, free: bool, crashes: int = 0) -> Verdict:
        judged = replace(delivery, tries=delivery.tries - 1) if free else delivery
        options, now, age = self._options.retry, self._clock.steady(), self._clock.age(delivery.owed_since)
        verdict = decide(options, judged, error, now=now, age=age, rng=self._rng, crashes=crashes)
        return replace(verdict, counted=False) if free and isinstance(verdict, Retry) else verdict

    def _lost(self, delivery: Delivery) -> Dead:
        """Every attempt was begun, and the last ones never ended: they took the process with them."""
        self._gate.cancelled()
        most = self._options.retry.max_attempts
        detail = (
            f"{delivery.tries - 1} attempts were begun, and retry.max_attempts is {most}: "
            "it was lowered, or the last ones never ended because the relay died"
        )
        return Dead(failure=Failure(reason=Reason.EXHAUSTED, detail=detail))

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
