"""What every sink promises to its lane, whatever its kind (`relay.ports.Sink`)."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from relay.errors import DeliveryError, Unavailable
from relay.model import Delivery
from relay.ports import PreviewedSink, Sink
from relay.preview import Look, Preview
from relay.sinks import SinkOptions
from tests.contract.sinks import HARNESSES, Harness, KafkaHarness, Sent
from tests.fakes.delivery import delivery
from tests.kafka.sinks import until_delivered

BODY = b'{"event":"meeting.started", "meeting":{"id":"m-1","title":"T\xc3\xa4glich \\ud83d"},"n":123456789012345678901}'
WHOLE = Look(content=True, secrets=True)
CLOSE_LIMIT = 20.0
"""Seconds: "a few", and what the app gives."""


def numbered(number: int) -> Delivery:
    made = delivery(None, body=BODY)
    return replace(made, id=number, event=replace(made.event, id=f"event-{number}", meeting="m-1"))


KINDS = [pytest.param(kind, id=kind.__name__.removesuffix("Harness").lower()) for kind in HARNESSES]


@pytest.fixture(params=[*KINDS, pytest.param(KafkaHarness, id="kafka", marks=pytest.mark.kafka)])
async def harness(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Harness]:
    made: Harness
    if request.param is KafkaHarness:
        made = KafkaHarness(tmp_path, request.getfixturevalue("own_kafka"))
    else:
        made = request.param(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def sink(harness: Harness) -> AsyncIterator[PreviewedSink]:
    made = harness.sink()
    yield made
    async with asyncio.timeout(CLOSE_LIMIT):
        await made.close()


async def failure(sink: Sink) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await sink.deliver(numbered(1))
    return caught.value


async def test_success_means_that_the_bytes_are_there(harness: Harness, sink: Sink) -> None:
    receipt = await sink.deliver(numbered(1))
    assert receipt
    assert await harness.arrived() == [harness.arrival(numbered(1))]


async def test_a_second_attempt_has_the_same_id(harness: Harness, sink: Sink) -> None:
    await sink.deliver(numbered(1))
    await sink.deliver(replace(numbered(1), attempt=2, tries=2))
    assert await harness.arrived() == [harness.arrival(numbered(1))] * 2


async def test_what_is_sent_is_the_deliverys_body(harness: Harness, sink: Sink) -> None:
    """Not the event's: the lane may have projected or redacted it."""
    shortened = replace(numbered(1), body=b'{"short":1}')
    await sink.deliver(shortened)
    assert await harness.arrived() == [harness.arrival(shortened)]


def told(preview: Preview, seen: Sent) -> Sent:
    """A preview in the words of what came, for what a destination can tell."""
    facts = {name: preview.facts[name] for name in seen.facts}
    return Sent(facts=facts, headers=preview.headers, body=preview.body or b"", payload=preview.payload)


@pytest.mark.parametrize("changed", ["as it was signed", "projected", "replayed"])
async def test_what_it_tells_beforehand_is_what_arrives(harness: Harness, sink: PreviewedSink, changed: str) -> None:
    """By the same code: before and after, because a signature holds for its second only."""
    delivery = numbered(1)
    if changed == "projected":
        delivery = replace(delivery, body=b'{"short":1}')
    if changed == "replayed":
        delivery = replace(delivery, attempt=3, replay=2)
    before = sink.preview(delivery, WHOLE)
    await sink.deliver(delivery)
    after = sink.preview(delivery, WHOLE)
    seen = await harness.sent()
    assert seen in (told(before, seen), told(after, seen))


async def test_what_it_tells_beforehand_does_no_io_and_keeps_secrets(harness: Harness) -> None:
    tasks = asyncio.all_tasks()
    secret = b'{"event":"x","meeting":{"title":"T"},"streamKey":"k3y-of-a-stream"}'
    preview = harness.sink().preview(replace(delivery(None, body=secret), route="r"), Look())
    assert asyncio.all_tasks() == tasks
    assert await harness.arrived() == []
    text = f"{preview} {preview.body!r}"
    assert not [hidden for hidden in (*harness.SECRETS, *harness.DISCREET, "k3y-of-a-stream") if hidden in text]
    assert set(preview.facts) == set(harness.sink().preview(numbered(1), WHOLE).facts), "the same for every delivery"


async def test_many_at_once_all_arrive(harness: Harness, sink: Sink) -> None:
    await asyncio.gather(*(sink.deliver(numbered(number)) for number in range(100)))
    arrived = {arrival.id for arrival in await harness.arrived()}
    assert arrived == {f"event-{number}" for number in range(100)}


async def test_a_destination_that_is_gone_is_unavailable_until_it_is_back(harness: Harness) -> None:
    sink = harness.sink(harness.hasty())
    await until_delivered(sink, numbered(1))
    await harness.take_away()
    error = await failure(sink)
    await harness.bring_back()
    assert isinstance(error, Unavailable)
    assert len(error.failure.detail) > 10, "a person can make something of it"
    await until_delivered(sink, numbered(2))
    await sink.close()
    arrived = [arrival.id for arrival in await harness.arrived()]
    assert list(dict.fromkeys(arrived)) == ["event-1", "event-2"], "one of them twice where the machine stood still"


async def test_a_destination_that_was_never_there_is_unavailable(harness: Harness) -> None:
    options = harness.hasty()
    await harness.take_away()
    sink = harness.sink(options)
    error = await failure(sink)
    async with asyncio.timeout(CLOSE_LIMIT):
        await sink.close()
    await harness.bring_back()
    assert isinstance(error, Unavailable)


async def test_it_can_be_closed_twice(harness: Harness) -> None:
    sink = harness.sink()
    await sink.deliver(numbered(1))
    async with asyncio.timeout(2 * CLOSE_LIMIT):
        await sink.close()
        await sink.close()


async def test_it_can_be_closed_without_use_and_leaves_nothing(harness: Harness) -> None:
    before = asyncio.all_tasks()
    sink = harness.sink()
    assert asyncio.all_tasks() == before, "constructors do no I/O"
    await sink.close()
    assert asyncio.all_tasks() == before
    assert await harness.arrived() == []


async def test_closing_leaves_no_task(harness: Harness) -> None:
    before = asyncio.all_tasks()
    sink = harness.sink()
    await asyncio.gather(*(sink.deliver(numbered(number)) for number in range(5)))
    await sink.close()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before


async def test_a_cancellation_at_any_await_leaves_it_usable(harness: Harness, sink: Sink) -> None:
    """A time-out or the shutdown may come anywhere; what was cancelled may arrive or not, what follows must."""
    for steps in range(40):
        delivering = asyncio.create_task(sink.deliver(numbered(0)))
        for _ in range(steps):
            await asyncio.sleep(0)
        delivering.cancel()
        with suppress(asyncio.CancelledError):
            await delivering
        async with asyncio.timeout(30):
            await sink.deliver(numbered(steps + 1))
    ids = [arrival.id for arrival in await harness.arrived()]
    assert {f"event-{number}" for number in range(1, 41)} <= set(ids)
    assert {arrival.body for arrival in await harness.arrived()} == {harness.arrival(numbered(1)).body}


async def test_a_cancellation_concerns_no_other_delivery(harness: Harness, sink: Sink) -> None:
    deliveries = [asyncio.create_task(sink.deliver(numbered(number))) for number in range(20)]
    await asyncio.sleep(0)
    for cancelled in deliveries[::2]:
        cancelled.cancel()
    results = await asyncio.gather(*deliveries, return_exceptions=True)
    assert all(isinstance(result, str) for result in results[1::2])
    arrived = {arrival.id for arrival in await harness.arrived()}
    assert {f"event-{number}" for number in range(1, 20, 2)} <= arrived


async def test_no_secret_is_ever_shown(harness: Harness) -> None:
    options: SinkOptions = harness.options()
    sink = harness.sink(options)
    described = [repr(sink), str(sink), repr(options), str(options), options.model_dump_json()]
    errors = []
    for trouble in harness.TROUBLES:
        await harness.trouble(trouble)
        errors.append(await failure(sink))
    await harness.take_away()
    errors.append(await failure(sink))
    await harness.bring_back()
    await sink.close()
    with_causes = described + ["".join(traceback.format_exception(error)) for error in errors]
    assert not [secret for secret in harness.SECRETS if any(secret in text for text in with_causes)]
    ledger = [f"{error!r} {error} {error.failure}" for error in errors]
    assert not [text for text in harness.DISCREET if any(text in entry for entry in ledger)]
