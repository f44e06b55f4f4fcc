"""Kafka stops while webhooks come in: the sender and the other sinks notice nothing, and Kafka gets all of it later."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from relay.simulator import SimulatedWebhook, simulate
from tests.brokers import Broker, Record
from tests.fakes.http import FakeHttp
from tests.fakes.keys import key_pair
from tests.fakes.slack import FakeSlack
from tests.kafka.real import RealBroker
from tests.running import Relay, relay_running, until

pytestmark = pytest.mark.kafka

ROUTES = [{"name": "everything", "events": ["*"], "to": ["events", "crm", "oncall", "audit"]}]


def sinks(folder: Path, broker: Broker, topic: str, http: FakeHttp, slack: FakeSlack, **more: Any) -> dict[str, Any]:
    quick = {"base": "50ms", "cap": "200ms"}
    kafka = {"type": "kafka", "bootstrap_servers": [broker.bootstrap], "topic": topic, "retry": quick, **more}
    return {
        "events": kafka,
        "crm": {"type": "http", "url": http.url, "allow_private": True},
        "oncall": {"type": "slack", "webhook_url": slack.webhook_url, "rate": "1000/s"},
        "audit": {"type": "file", "path": str(folder / "events.jsonl")},
    }


async def post(relay: Relay, webhooks: list[SimulatedWebhook]) -> dict[str, SimulatedWebhook]:
    """Post in order; each must be accepted. By event id."""
    accepted = {}
    for webhook in webhooks:
        answer = await relay.post(webhook.body, headers=webhook.headers)
        assert (answer.status, answer.json["status"]) == (200, "accepted")
        accepted[answer.json["id"]] = webhook
    return accepted


async def test_with_one_sink_of_each_kind_everything_arrives(kafka: Broker, tmp_path: Path) -> None:
    topic = await kafka.create_topic(f"test-{uuid4()}", partitions=3)
    async with FakeHttp() as http, FakeSlack() as slack:
        places = sinks(tmp_path, kafka, topic, http, slack)
        async with relay_running(tmp_path, sinks=places, routes=ROUTES) as relay:
            accepted = await post(relay, list(simulate(key_pair(), meetings=3, seed="all", participants=2)))
            await relay.drained()
            _all_in_order(await kafka.consume(topic, len(accepted)), accepted)
            assert await kafka.size(topic) == len(accepted)
        _all_at_the_others(accepted, http, slack, tmp_path)


async def test_kafka_stops_and_comes_back(own_kafka: RealBroker, tmp_path: Path) -> None:
    broker = Broker(own_kafka.bootstrap, kind="real")
    topic = await broker.create_topic(f"test-{uuid4()}", partitions=3)
    webhooks = list(simulate(key_pair(), meetings=3, seed="outage", participants=2))
    third = len(webhooks) // 3
    async with FakeHttp() as http, FakeSlack() as slack:
        places = sinks(tmp_path, broker, topic, http, slack, timeout="2s")
        async with relay_running(tmp_path, sinks=places, routes=ROUTES) as relay:
            accepted = await post(relay, webhooks[:third])
            await relay.drained()
            await asyncio.to_thread(own_kafka.stop)
            accepted |= await post(relay, webhooks[third : 2 * third])
            for sink in ("crm", "oncall", "audit"):
                await relay.delivered(sink, 2 * third)
            await until(lambda: _failed(relay), "failed attempt at Kafka")
            assert (await relay.metrics())['relay_backlog{sink="events"}'] == third
            assert (await relay.admin("/readyz")).status == 200
            await asyncio.to_thread(own_kafka.start)
            accepted |= await post(relay, webhooks[2 * third :])
            await relay.drained()
            _all_in_order(await broker.consume(topic, len(accepted)), accepted)
        _all_at_the_others(accepted, http, slack, tmp_path)


async def _failed(relay: Relay) -> bool:
    metrics = await relay.metrics()
    return any(
        name.startswith("relay_attempts_total{") and 'sink="events"' in name and 'outcome="delivered"' not in name
        for name in metrics
    )


def _all_in_order(records: list[Record], accepted: dict[str, SimulatedWebhook]) -> None:
    """Every event unchanged under its key, and each key's in the order of acceptance; a repeat after a fault may be."""
    ids = list(dict.fromkeys((record.key, record.headers["ce_id"].decode()) for record in records))
    found = {record.headers["ce_id"].decode(): record.value for record in records}
    assert found == {event_id: webhook.body for event_id, webhook in accepted.items()}
    order: dict[bytes | None, list[str]] = defaultdict(list)
    for key, event_id in ids:
        order[key].append(event_id)
    for key, theirs in order.items():
        assert theirs == sorted(theirs), key
    assert len(order) > 1


def _all_at_the_others(accepted: dict[str, SimulatedWebhook], http: FakeHttp, slack: FakeSlack, folder: Path) -> None:
    bodies = {request.headers["webhook-id"]: request.body for request in http.requests}
    assert bodies == {event_id: webhook.body for event_id, webhook in accepted.items()}
    assert len(http.requests) == len(slack.posted) == len(accepted)
    assert len((folder / "events.jsonl").read_bytes().splitlines()) == len(accepted)
