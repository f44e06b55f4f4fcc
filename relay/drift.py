"""The drift alarm: what the sender sends and the catalogue does not know is counted, and told once.

It stands between the gateway and its intake, and looks at an event after its answer: nothing waits for it, nothing can
fail by it, and it takes a hundredth of the time at most (docs/decisions/0017).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from time import monotonic

from relay.events.drift import Difference, differences
from relay.model import Acceptance, Admission, Event
from relay.ports import Intake
from relay.telemetry import Telemetry
from relay.vocabulary import type_label

SHARE = 0.01
"""Of the time that passes, as much is spent on looking."""
BURST = 0.05
"""Seconds of looking that are saved up while little comes in."""
MOST_PLACES = 100
"""Places that are remembered, and told, of each event type; those of unknown types share one such memory."""


class DriftAlarm:
    """Compares events with the catalogue as long as its time lasts, and counts those that it left out."""

    def __init__(self, telemetry: Telemetry, *, now: Callable[[], float] = monotonic) -> None:
        self._telemetry = telemetry
        self._now = now
        self._left = BURST
        self._last = now()
        self._left_out: Counter[str] = Counter()
        self._places: dict[str, set[tuple[str, ...]]] = {}

    def has_time_for(self, event: Event) -> bool:
        """Whether to look at it: all that is done while an event is answered, so it counts in plain numbers."""
        now = self._now()
        self._left = min(BURST, self._left + SHARE * (now - self._last))
        self._last = now
        if self._left > 0:
            return True
        self._left_out[event.source] += 1
        return False

    def look(self, event: Event) -> None:
        """Compare an event that was accepted and is ours. One with a defect holds nothing to compare."""
        started = self._now()
        if event.defect is None:
            for difference in differences(event.payload):
                self._tell(event, difference)
        while self._left_out:
            self._telemetry.drift_unchecked(*self._left_out.popitem())
        self._left -= self._now() - started

    def _tell(self, event: Event, found: Difference) -> None:
        label = type_label(event.type)
        places = self._places.setdefault(label, set())
        place = (event.source, event.type, found.path, found.kind)
        new = place not in places and len(places) < MOST_PLACES
        self._telemetry.drifted(event.source, found.kind)
        if new:
            places.add(place)
            self._telemetry.drift_found(event, found.kind, found.path, word=found.word, last=len(places) == MOST_PLACES)


class WatchedIntake:
    """An intake whose new events the alarm looks at, once they are answered."""

    def __init__(self, intake: Intake, alarm: DriftAlarm) -> None:
        self._intake = intake
        self._alarm = alarm

    async def accept(self, admission: Admission) -> Acceptance:
        """See `Intake.accept`."""
        acceptance = await self._intake.accept(admission)
        ours = acceptance.duplicate is None and admission.quarantine is None
        if ours and self._alarm.has_time_for(admission.event):
            asyncio.get_running_loop().call_soon(self._alarm.look, admission.event)
        return acceptance
