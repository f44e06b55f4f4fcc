"""What the tests of the Kafka sink share: sinks that leave nothing behind, deliveries, and a lane's patience."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from relay.errors import DeliveryError, Unavailable
from relay.model import Delivery, Event
from relay.ports import Sink
from relay.sinks.kafka import KafkaOptions, KafkaSink

BODY = b'{"event": "meeting.started",\n "meeting": {"title": "T\xc3\xa4glich \\ud83d"}}'
SHORT = "1500ms"
"""A time-out for sends that are meant to fail."""
LONG = "30s"
"""One for all others; `CLOSE_LIMIT` is well below it."""
CLOSE_LIMIT = 20.0
"""Seconds that a sink may take to close."""

MakeSink = Callable[..., KafkaSink]


def delivery(number: int = 0, *, meeting: str = "m-1", body: bytes = BODY, kind: str = "meeting.started") -> Delivery:
    event = Event(
        id=f"event-{number}",
        source="dyte",
        type=kind,
        body=body,
        headers={},
        received_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        meeting=meeting,
    )
    return Delivery(id=number, event=event, route="all", sink="events", attempt=1, tries=1, body=body)


@asynccontextmanager
async def kept_sinks() -> AsyncIterator[MakeSink]:
    """Builds sinks and closes them; and no task or complaint of theirs may be left behind."""
    sinks: list[KafkaSink] = []

    def make(server: str, topic: str, **options: Any) -> KafkaSink:
        values = {"type": "kafka", "bootstrap_servers": [server], "topic": topic, "timeout": LONG, **options}
        sinks.append(KafkaSink("events", KafkaOptions.model_validate(values)))
        return sinks[-1]

    before = asyncio.all_tasks()
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    yield make
    async with asyncio.timeout(CLOSE_LIMIT * max(1, len(sinks))):
        for sink in sinks:
            await sink.close()
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}
    assert not complaints, complaints


async def failure(attempt: Awaitable[str]) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await attempt
    return caught.value


async def until_delivered(sink: Sink, of: Delivery, *, seconds: float = 40.0) -> str:
    """Try again and again, as a lane does."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await sink.deliver(of)
            except Unavailable:
                await asyncio.sleep(0.05)  # a lane's back-off; what is waited for is the broker


def address(server: asyncio.Server) -> str:
    """Where a server of the test's own listens."""
    host, port = server.sockets[0].getsockname()[:2]
    return f"{host}:{port}"
