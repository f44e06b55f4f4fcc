"""Drift at a relay that runs: the event goes where it would go anyway, and is counted once it is answered."""

from __future__ import annotations

from pathlib import Path

from relay.drift import DriftAlarm, WatchedIntake
from relay.telemetry import Telemetry
from tests.fakes.gateway import ScriptedIntake, gateway_running
from tests.fakes.keys import key_pair
from tests.running import ORGANIZATION, payload, relay_running, until


async def test_unknown_events_and_fields_are_delivered_and_counted(tmp_path: Path) -> None:
    sinks = {"audit": {"type": "file", "path": str(tmp_path / "events.jsonl")}}
    source = {"public_key": key_pair().public_pem}
    sources = {"dyte": {**source, "organizations": [ORGANIZATION]}, "strict": {**source, "organizations": ["mine"]}}
    async with relay_running(tmp_path, sinks=sinks, sources=sources) as relay:
        await relay.post(payload())
        await relay.post(payload(novelty=1), uuid="1")
        await relay.post(payload(novelty=1), uuid="1")
        await relay.post(payload("meeting.exploded"))
        await relay.post(payload(novelty=2), path="/webhooks/strict")
        await relay.delivered("audit", 3)
        metrics = await relay.metrics()
    drift = {name: count for name, count in metrics.items() if name.startswith("relay_drift_total")}
    assert drift == {
        'relay_drift_total{kind="unknown_field",source="dyte"}': 1,  # neither the repeat, nor what is not for us
        'relay_drift_total{kind="unknown_event",source="dyte"}': 1,
    }
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert sum('"novelty":1' in line for line in lines) == 1
    assert sum("meeting.exploded" in line for line in lines) == 1


async def test_an_alarm_that_fails_troubles_no_answer() -> None:
    class Broken(DriftAlarm):
        looked = 0

        def look(self, event: object) -> None:
            self.looked += 1
            raise RuntimeError("the alarm is broken")

    alarm = Broken(Telemetry())
    async with gateway_running(WatchedIntake(ScriptedIntake(), alarm)) as gateway:
        answers = [(await gateway.post(payload(meeting=f"m-{number}"))).status for number in range(3)]

        async def looked() -> bool:
            return alarm.looked == 3

        await until(looked, "the alarm looks at each")
    assert answers == [200, 200, 200]
