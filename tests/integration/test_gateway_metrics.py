"""The metrics of the contract: their names, their labels, and that the sums add up."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from relay.telemetry import Telemetry
from tests.fakes.http import Answer, FakeHttp
from tests.fakes.keys import key_pair
from tests.running import payload, relay_running

CONTRACT = """
requests_total{source,outcome} ack_seconds{source} commit_seconds events_total{source,type}
duplicates_total{source,kind} events_unrouted_total events_routed_total{route} attempts_total{sink,outcome}
attempt_seconds{sink} end_to_end_seconds{sink} delivered_total{sink} dead_total{sink,reason} backlog{sink}
backlog_oldest_seconds{sink} sink_state{sink,state} inflight store_errors_total{kind} store_writable
store_free_bytes key_age_seconds{source} key_fetch_total{source,result} config_info{hash}
config_last_reload_successful build_info{version}
"""


def test_the_metrics_have_the_names_and_labels_of_the_contract() -> None:
    expected = {}
    for item in CONTRACT.split():
        name, _, labels = item.rstrip("}").partition("{")
        expected[f"relay_{name}"] = set(labels.split(",")) - {""}
    telemetry = Telemetry()
    declared = {
        collector._name + ("_total" if collector._type == "counter" else ""): set(collector._labelnames)  # type: ignore[attr-defined]
        for collector in telemetry.registry._collector_to_names
    }
    assert {name: declared.get(name) for name in expected} == expected


async def test_a_working_relay_exposes_all_of_them(tmp_path: Path) -> None:
    """Nothing is declared and then never set."""
    sinks = {"audit": {"type": "file", "path": str(tmp_path / "events.jsonl")}}
    async with relay_running(tmp_path, sinks=sinks) as relay:
        await relay.post(uuid="1")
        await relay.post(uuid="1")
        await relay.delivered("audit", 1)
        await relay.drained()
        await relay.metrics()
        text = (await relay.admin("/metrics")).body.decode()
    exposed = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    wanted = {f"relay_{item.partition('{')[0]}" for item in CONTRACT.split()}
    without_reason = {"relay_dead_total", "relay_store_errors_total", "relay_key_age_seconds", "relay_key_fetch_total"}
    for name in wanted - without_reason:
        assert name in exposed or f"{name}_count" in exposed, name


async def test_the_sums_add_up(tmp_path: Path) -> None:
    """Accepted = unrouted + quarantined + with deliveries; deliveries = delivered + dead + pending."""
    async with FakeHttp(default=Answer(400)) as refusing:
        sinks = {
            "audit": {"type": "file", "path": str(tmp_path / "events.jsonl")},
            "crm": {"type": "http", "url": refusing.url, "allow_private": True},
            "later": {"type": "file", "path": str(tmp_path / "later.jsonl"), "enabled": False},
        }
        routes = [
            {"name": "starts", "events": ["meeting.started"], "to": ["audit", "crm", "later"]},
            {"name": "again", "events": ["meeting.*ed"], "to": ["audit"]},
        ]
        source = {"public_key": key_pair().public_pem}
        sources = {"dyte": source, "strict": {**source, "organizations": ["mine"]}}
        async with relay_running(tmp_path, sinks=sinks, routes=routes, sources=sources) as relay:
            for number in range(3):
                await relay.post(payload(meeting=f"m-{number}"))
            await relay.post(payload("meeting.ended"))
            await relay.post(payload("recording.statusUpdate"))
            await relay.post(b"no JSON")
            await relay.post(path="/webhooks/strict")
            await relay.post(payload(meeting="m-1"))
            await relay.delivered("audit", 4)
            await relay.settled("crm", 3)
            metrics, totals = await relay.metrics(), await relay.totals()
    assert totals == {"routed": 4, "unrouted": 2, "quarantined": 1, "delivered": 4, "dead": 3, "pending": 3}

    def total(name: str) -> float:
        return sum(value for series, value in metrics.items() if series.partition("{")[0] == f"relay_{name}")

    assert metrics['relay_requests_total{outcome="accepted",source="dyte"}'] == 6
    assert metrics['relay_requests_total{outcome="duplicate",source="dyte"}'] == 1
    assert total("events_total") == 7 == total("events_unrouted_total") + total("events_quarantined_total") + 4
    assert total("delivered_total") + total("dead_total") + total("backlog") == 4 + 3 + 3
    assert metrics['relay_dead_total{reason="refused",sink="crm"}'] == 3
    assert metrics['relay_backlog{sink="later"}'] == 3
    assert metrics['relay_events_routed_total{route="starts"}'] == 3
    assert metrics['relay_events_routed_total{route="again"}'] == 1
    assert metrics["relay_inflight"] == 0


async def test_a_sender_cannot_make_new_series(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        await relay.post(payload("meeting.unknown"))
        await relay.post(path="/nowhere")
        await relay.drained()
        before = set(await relay.metrics())
        for number in range(20):
            await relay.post(payload(f"meeting.unknown{number}", meeting=f"m-{number}"), webhook_id=f"w-{number}")
            await relay.post(path=f"/nowhere/{number}")
        await relay.drained()
        after = set(await relay.metrics())
    assert after == before
