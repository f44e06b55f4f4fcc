"""From the sender's post to what the receivers have: the whole relay, with a sink of every kind."""

from __future__ import annotations

import asyncio
import json
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from standardwebhooks import Webhook

from relay.demo.kafka import DemoKafka, Message
from relay.gate import Wait
from relay.simulator import SimulatedWebhook, simulate
from tests.acceptance.process import END, serving
from tests.fakes.http import Answer, FakeHttp
from tests.fakes.keys import key_pair
from tests.fakes.slack import FakeSlack
from tests.running import Relay, payload, relay_running, sender

SECRET = "whsec_" + "QUFB" * 12
QUICK = {"base": "10ms", "cap": "50ms"}


@dataclass(frozen=True)
class Receivers:
    """All the other ends."""

    folder: Path
    kafka: DemoKafka
    http: FakeHttp
    slack: FakeSlack

    def sinks(self) -> dict[str, Any]:
        return {
            "events": {"type": "kafka", "bootstrap_servers": [self.kafka.bootstrap], "topic": self.kafka.topic},
            "crm": {
                "type": "http",
                "url": self.http.url + "/crm",
                "secret": SECRET,
                "allow_private": True,
                "retry": QUICK,
            },
            "oncall": {"type": "slack", "webhook_url": self.slack.webhook_url, "rate": "100/s"},
            "audit": {"type": "file", "path": str(self.folder / "events.jsonl")},
        }

    def lines(self) -> list[bytes]:
        return (self.folder / "events.jsonl").read_bytes().splitlines()


@pytest.fixture
async def receivers(tmp_path: Path) -> AsyncIterator[Receivers]:
    async with DemoKafka(f"test-{uuid4()}") as kafka, FakeHttp() as http, FakeSlack() as slack:
        yield Receivers(tmp_path, kafka, http, slack)


ROUTES = [
    {"name": "everything", "events": ["*"], "to": ["events", "audit"]},
    {"name": "people", "events": ["meeting.participant*"], "to": ["crm"]},
    {"name": "uploads", "events": ["recording.*"], "where": "recording.status == 'UPLOADED'", "to": ["crm", "oncall"]},
]


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken sink is probed at once, not after a second."""
    monkeypatch.setattr("relay.gate.BREAKER_WAIT", Wait(first=0.02, longest=0.05))


async def post_all(relay: Relay, webhooks: Sequence[SimulatedWebhook]) -> dict[str, SimulatedWebhook]:
    """Post in order; the accepted ones by their event id."""
    accepted = {}
    for webhook in webhooks:
        answer = await relay.post(webhook.body, headers=webhook.headers)
        assert answer.status == 200
        if answer.json["status"] == "accepted":
            accepted[answer.json["id"]] = webhook
    return accepted


def meetings(count: int, **more: Any) -> list[SimulatedWebhook]:
    return list(simulate(key_pair(), meetings=count, **more))


async def test_every_event_is_where_its_routes_sent_it_once_and_as_it_was_signed(receivers: Receivers) -> None:
    async with relay_running(receivers.folder, sinks=receivers.sinks(), routes=ROUTES) as relay:
        accepted = await post_all(relay, meetings(3, duplicates=0.3, fresh_uuid=True))
        await relay.drained()
        messages = await receivers.kafka.read(len(accepted))
        metrics = await relay.metrics()
    bodies = {event_id: webhook.body for event_id, webhook in accepted.items()}
    _everything_is_in_kafka(messages, accepted)
    found = {json.loads(line)["id"]: line for line in receivers.lines()}
    assert len(receivers.lines()) == len(accepted)
    assert all(found[event_id].endswith(b',"data":' + body + b"}") for event_id, body in bodies.items())
    to_crm = {event_id for event_id, webhook in accepted.items() if _is_for_crm(webhook)}
    requests = {request.headers["webhook-id"]: request for request in receivers.http.requests}
    assert set(requests) == to_crm
    assert len(receivers.http.requests) == len(to_crm)
    for event_id, request in requests.items():
        assert request.body == bodies[event_id]
        Webhook(SECRET).verify(request.body, {name.lower(): text for name, text in request.headers.items()})
    assert len(receivers.slack.posted) == sum(_is_upload(webhook) for webhook in accepted.values()) > 0
    delivered = {sink: metrics[f'relay_delivered_total{{sink="{sink}"}}'] for sink in relay.app.config.sinks}
    assert delivered == {
        "events": len(accepted),
        "audit": len(accepted),
        "crm": len(to_crm),
        "oncall": len(receivers.slack.posted),
    }


def _everything_is_in_kafka(messages: Sequence[Message], accepted: dict[str, SimulatedWebhook]) -> None:
    """Once, unchanged, under its meeting's key, and each meeting in the order of acceptance."""
    bodies = {message.headers["ce_id"]: message.body for message in messages}
    assert len(messages) == len(accepted)
    assert bodies == {event_id: webhook.body for event_id, webhook in accepted.items()}
    order: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        order[message.key].append(message.headers["ce_id"])
    assert all(ids == sorted(ids) for ids in order.values())
    partitions = {(message.key, message.partition) for message in messages}
    assert len(partitions) == len(order)


def _is_upload(webhook: SimulatedWebhook) -> bool:
    found = orjson.loads(webhook.body)
    return bool(found.get("recording", {}).get("status") == "UPLOADED")


def _is_for_crm(webhook: SimulatedWebhook) -> bool:
    return webhook.event.startswith("meeting.participant") or _is_upload(webhook)


async def test_a_receiver_that_is_down_hurts_nobody_and_gets_everything_later(receivers: Receivers) -> None:
    everything = [{"name": "all", "events": ["*"], "to": ["events", "crm", "audit"]}]
    await receivers.http.stop()
    async with relay_running(receivers.folder, sinks=receivers.sinks(), routes=everything) as relay:
        accepted = await post_all(relay, meetings(2))
        await relay.delivered("audit", len(accepted))
        await relay.delivered("events", len(accepted))
        assert (await relay.admin("/readyz")).status == 200
        metrics = await relay.metrics()
        assert metrics['relay_backlog{sink="crm"}'] == len(accepted)
        assert metrics['relay_attempts_total{outcome="connect",sink="crm"}'] >= 1
        await receivers.http.start()
        await relay.drained()
    ids = [request.headers["webhook-id"] for request in receivers.http.requests]
    assert sorted(ids) == sorted(accepted)


async def test_one_that_fails_now_and_then_gets_everything_at_last(receivers: Receivers) -> None:
    everything = [{"name": "all", "events": ["*"], "to": ["crm"]}]
    receivers.http.will(*[Answer(status) for status in (500, 204, 503, 429, 204, 502, 404, 204, 408)])
    async with relay_running(receivers.folder, sinks=receivers.sinks(), routes=everything) as relay:
        accepted = await post_all(relay, meetings(1))
        await relay.drained()
        records = await relay.app.store.deliveries(sink="crm", limit=1000)
    assert {record.state for record in records} == {"delivered"}
    assert {request.headers["webhook-id"] for request in receivers.http.requests} == set(accepted)
    retried = [request for request in receivers.http.requests if request.headers["relay-attempt"] != "1"]
    assert len(retried) == 6


async def test_a_backlog_outlives_a_restart(receivers: Receivers) -> None:
    everything = [{"name": "all", "events": ["*"], "to": ["crm"]}]
    await receivers.http.stop()
    async with relay_running(receivers.folder, sinks=receivers.sinks(), routes=everything) as relay:
        accepted = await post_all(relay, meetings(1))
    await receivers.http.start()
    async with relay_running(receivers.folder, sinks=receivers.sinks(), routes=everything) as relay:
        again = await post_all(relay, meetings(1))
        await relay.drained()
    assert again == {}, "the duplicates are known after the restart too"
    assert {request.headers["webhook-id"] for request in receivers.http.requests} == set(accepted)


async def test_many_senders_at_once(receivers: Receivers) -> None:
    everything = [{"name": "all", "events": ["*"], "to": ["crm", "audit"]}]
    async with relay_running(receivers.folder, sinks=receivers.sinks(), routes=everything) as relay:
        bodies = [orjson.dumps(payload(meeting=f"m-{number}")) for number in range(300)]
        answers = await asyncio.gather(*(relay.post(body, uuid=str(n % 300)) for n, body in enumerate(bodies * 2)))
        await relay.drained()
    statuses = [answer.json["status"] for answer in answers]
    assert (statuses.count("accepted"), statuses.count("duplicate")) == (300, 300)
    assert len({answer.json["id"] for answer in answers}) == 300
    assert sorted(request.body for request in receivers.http.requests) == sorted(bodies)
    assert len(receivers.lines()) == 300


async def test_a_standard_output_that_nobody_reads_keeps_no_process_alive(tmp_path: Path) -> None:
    """`relay serve | less`, and a log collector that hangs."""
    sinks = {"printed": {"type": "file", "path": "-"}}
    async with serving(tmp_path, sinks=sinks) as process, sender(f"http://{process.gateway}") as posting:
        for number in range(8):  # more than the pipe and its reader's buffer hold
            body = orjson.dumps(payload(meeting=f"m-{number}", filler="x" * 900_000))
            assert (await posting.post(body)).status == 200
        process.process.send_signal(signal.SIGTERM)
        stdout, stderr = process.process.stdout, process.process.stderr
        assert stdout is not None
        assert stderr is not None
        async with asyncio.timeout(END):
            await stderr.read()  # until the process lets go of it
        await stdout.read()
        assert await process.ended() == 0
