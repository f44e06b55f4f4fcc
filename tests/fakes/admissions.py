"""Events and admissions for tests of the store and the lanes: all distinct, unless a test says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from relay.model import Admission, Event, Quarantine, Target

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
"""When things happen, unless a test says otherwise; also where a `FakeClock` begins."""

_numbers = count(1)


def event(**given: Any) -> Event:
    """An event unlike any other."""
    number = next(_numbers)
    parts: dict[str, Any] = {
        "id": f"01931b2e-7f00-7000-8000-{number:012d}",
        "source": "dyte",
        "type": "meeting.started",
        "body": b'{"event":"meeting.started","number":%d}' % number,
        "headers": {"content-type": "application/json"},
        "received_at": NOON,
        "webhook_id": "registration",
        "uuid": f"uuid-{number}",
    }
    return Event(**parts | given)


def admission(
    *sinks: str,
    order_key: str | None = None,
    quarantine: Quarantine | None = None,
    replay_window: timedelta = timedelta(0),
    of: Event | None = None,
    **given: Any,
) -> Admission:
    """An admission of a new event (or the one given) to these sinks, all by the route `everything`."""
    return Admission(
        event=of or event(**given),
        targets=[Target(route="everything", sink=sink, order_key=order_key) for sink in sinks],
        quarantine=quarantine,
        replay_window=replay_window,
        config="c0ffee",
    )


def counted(totals: Mapping[str, int], names: Sequence[str]) -> int:
    """The sum of these states."""
    return sum(totals.get(name, 0) for name in names)
