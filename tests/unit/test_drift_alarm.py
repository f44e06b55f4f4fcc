"""The drift alarm: what it counts, what it tells once, and how little it does when much comes in."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest

from relay import drift
from relay.clock import SystemClock
from relay.drift import BURST, MOST_PLACES, SHARE, DriftAlarm, WatchedIntake
from relay.dyte import Signature, parse
from relay.events.drift import Difference
from relay.model import Admission, Event
from relay.payload import Payload
from relay.telemetry import Telemetry
from tests.fakes.gateway import ScriptedIntake
from tests.running import Samples, samples

NEW = {"event": "meeting.started", "novelty": 1}


class Steady:
    """A clock that goes on by so much each time that it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 100.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def event(payload: dict[str, Any] | bytes, source: str = "dyte") -> Event:
    return parse(
        event_id="id",
        source=source,
        body=payload if isinstance(payload, bytes) else orjson.dumps(payload),
        signature=Signature(family="dyte", bytes=b"", uuid=None, webhook_id=None),
        headers=(),
        received_at=SystemClock().now(),
    )


def metrics(telemetry: Telemetry) -> Samples:
    return samples(telemetry.exposition())


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    names = ("type", "kind", "path", "value", "last")
    return [{name: vars(record)[name] for name in names} for record in caplog.records if record.msg == "event.drifted"]


def test_a_difference_is_counted_each_time_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    alarm = DriftAlarm(telemetry, now=Steady())
    for _ in range(3):
        alarm.look(event(NEW))
    assert metrics(telemetry)['relay_drift_total{kind="unknown_field",source="dyte"}'] == 3
    assert metrics(telemetry)['relay_drift_places{kind="unknown_field",source="dyte"}'] == 1
    expected = {"type": "meeting.started", "kind": "unknown_field", "path": "novelty", "value": None, "last": None}
    assert told(caplog) == [expected]
    assert caplog.records[0].levelno == logging.WARNING


def test_each_place_is_told_and_so_is_the_same_in_another_type_or_source(caplog: pytest.LogCaptureFixture) -> None:
    alarm = DriftAlarm(Telemetry(), now=Steady())
    alarm.look(event(NEW | {"other": 1}))
    alarm.look(event(NEW | {"event": "meeting.ended", "reason": "METEOR"}))
    alarm.look(event(NEW, source="realtimekit"))
    alarm.look(event({"event": "meeting.exploded"}))
    assert [(each["type"], each["path"], each["value"]) for each in told(caplog)] == [
        ("meeting.started", "novelty", None),
        ("meeting.started", "other", None),
        ("meeting.ended", "novelty", None),
        ("meeting.ended", "reason", "METEOR"),
        ("meeting.started", "novelty", None),
        ("meeting.exploded", "event", None),
    ]


def test_what_is_known_and_what_cannot_be_read_at_all_is_no_drift(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    alarm = DriftAlarm(telemetry, now=Steady())
    for payload in ({"event": "meeting.started", "meeting": {"id": "m-1"}}, b"no JSON", b"[]", b'{"event": 7}'):
        alarm.look(event(payload))
    assert not [name for name in metrics(telemetry) if name.startswith("relay_drift") and "{" in name]
    assert told(caplog) == []


def test_no_sender_makes_it_remember_or_tell_more_than_so_much(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    alarm = DriftAlarm(telemetry, now=Steady())
    for number in range(3 * MOST_PLACES):
        alarm.look(event({"event": f"meeting.exploded{number}"}))
        alarm.look(event({"event": "meeting.started", f"field{number}": 1}))
    lines = told(caplog)
    assert len(lines) == 2 * MOST_PLACES
    assert [each["path"] for each in lines if each["last"]] == ["event", f"field{MOST_PLACES - 1}"]
    assert sum(len(places) for places in alarm._places.values()) == 2 * MOST_PLACES
    counted = metrics(telemetry)
    for kind in ("unknown_event", "unknown_field"):
        assert counted[f'relay_drift_total{{kind="{kind}",source="dyte"}}'] == 3 * MOST_PLACES
        assert counted[f'relay_drift_places{{kind="{kind}",source="dyte"}}'] == MOST_PLACES
    alarm.look(event({"event": "meeting.ended", "novelty": 1}))
    assert told(caplog)[-1]["type"] == "meeting.ended", "another type has a memory of its own"


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Payload]:
    """What is compared."""
    seen: list[Payload] = []

    def look(payload: Payload) -> list[Difference]:
        seen.append(payload)
        return []

    monkeypatch.setattr(drift, "differences", look)
    return seen


def offered(alarm: DriftAlarm, times: int) -> None:
    """So many events, each looked at if there is time."""
    for _ in range(times):
        one = event(NEW)
        if alarm.has_time_for(one):
            alarm.look(one)


def test_with_its_time_used_up_it_looks_at_nothing_and_counts_that(looked_at: list[Payload]) -> None:
    telemetry, clock = Telemetry(), Steady(step=0.001)
    alarm = DriftAlarm(telemetry, now=clock)
    at_once = BURST / clock.step
    offered(alarm, 1000)
    assert at_once <= len(looked_at) <= at_once + 1000 * 3 * SHARE + 2
    left_out = 1000 - len(looked_at)
    looked_at.clear()
    clock.now += 1.0
    offered(alarm, 100)
    assert SHARE / clock.step <= len(looked_at) <= SHARE / clock.step + 4, "of the second that passed, a hundredth"
    assert metrics(telemetry)['relay_drift_unchecked_total{source="dyte"}'] >= left_out
    looked_at.clear()
    clock.now += 1e6
    offered(alarm, 100)
    assert at_once <= len(looked_at) <= at_once + 5, "a quiet week saves up no more than there was at the start"


def test_what_was_left_out_is_counted_with_the_next_look(looked_at: list[Payload]) -> None:
    telemetry, clock = Telemetry(), Steady()
    alarm = DriftAlarm(telemetry, now=clock)
    alarm._left = 0.0
    for source, times in (("dyte", 5), ("realtimekit", 2)):
        assert not any(alarm.has_time_for(event(NEW, source)) for _ in range(times))
    clock.now += 1.0
    offered(alarm, 1)
    counted = {name: count for name, count in metrics(telemetry).items() if "unchecked_total" in name}
    assert counted == {
        'relay_drift_unchecked_total{source="dyte"}': 5,
        'relay_drift_unchecked_total{source="realtimekit"}': 2,
    }
    offered(alarm, 1)
    assert {name: count for name, count in metrics(telemetry).items() if "unchecked_total" in name} == counted


async def test_what_there_is_no_time_for_is_accepted_and_not_looked_at(looked_at: list[Payload]) -> None:
    alarm = DriftAlarm(Telemetry(), now=Steady())
    watched = WatchedIntake(ScriptedIntake(), alarm)
    for left in (1.0, 0.0, 1.0):
        alarm._left = left
        assert (await watched.accept(Admission(event=event(NEW)))).event_id == "id"
        await asyncio.sleep(0)
    assert len(looked_at) == 2
