"""The Kafka sink against a real broker; what it wrote is read by librdkafka, which shares no code with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from relay.errors import Misconfigured, Rejected, Unavailable
from relay.model import Reason
from tests.brokers import Broker
from tests.kafka.sinks import BODY, SHORT, MakeSink, address, delivery, failure, kept_sinks, until_delivered

pytestmark = pytest.mark.kafka


@pytest.fixture
async def make_sink() -> AsyncIterator[MakeSink]:
    async with kept_sinks() as make:
        yield make


@pytest.fixture
async def topic(kafka: Broker) -> str:
    return await kafka.create_topic(f"test-{uuid4()}", partitions=3)


def only_real(broker: Broker) -> None:
    if not broker.real:
        pytest.skip("librdkafka's mock cluster does not do this")


# -- what arrives --------------------------------------------------------------------------------------------------


async def test_consumer_reads_what_was_accepted(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    receipt = await make_sink(kafka.bootstrap, topic).deliver(delivery())
    (record,) = await kafka.consume(topic, 1)
    assert record.value == BODY
    assert record.key == b"m-1"
    assert record.headers["ce_id"] == b"event-0"
    assert record.headers["ce_time"] == b"2026-01-02T03:04:05.000Z"
    assert record.headers["content-type"] == b"application/json"
    assert receipt == f"{topic}/{record.partition}/{record.offset}"


async def test_meeting_stays_in_one_partition_and_in_order(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    sink = make_sink(kafka.bootstrap, topic)

    async def meet(meeting: int) -> None:
        for step in range(10):
            await sink.deliver(delivery(step, meeting=f"meeting-{meeting}"))

    await asyncio.gather(*(meet(number) for number in range(20)))
    records = await kafka.consume(topic, 200)
    assert len({record.partition for record in records}) > 1
    for number in range(20):
        mine = [record for record in records if record.key == f"meeting-{number}".encode()]
        assert len({record.partition for record in mine}) == 1
        assert [record.headers["ce_id"].decode() for record in mine] == [f"event-{step}" for step in range(10)]


async def test_thousand_at_once_arrive_once_each(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    sink = make_sink(kafka.bootstrap, topic)
    receipts = await asyncio.gather(*(sink.deliver(delivery(number, meeting=f"m-{number}")) for number in range(1000)))
    records = await kafka.consume(topic, 1000)
    assert await kafka.size(topic) == 1000
    assert {record.headers["ce_id"] for record in records} == {f"event-{number}".encode() for number in range(1000)}
    assert set(receipts) == {f"{topic}/{record.partition}/{record.offset}" for record in records}


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed(kafka: Broker, topic: str, make_sink: MakeSink, compression: str) -> None:
    sink = make_sink(kafka.bootstrap, topic, compression_type=compression, linger_ms=5)
    body = b'{"pad":"' + b"x" * 5000 + b'"}'
    await asyncio.gather(*(sink.deliver(delivery(number, body=body)) for number in range(20)))
    records = await kafka.consume(topic, 20)
    assert {record.value for record in records} == {body}


async def test_templated_topic(kafka: Broker, make_sink: MakeSink) -> None:
    prefix = f"test-{uuid4()}"
    for label in ("meeting.started", "other"):
        await kafka.create_topic(f"{prefix}.{label}")
    sink = make_sink(kafka.bootstrap, prefix + ".{type}")
    await sink.deliver(delivery(1))
    await sink.deliver(delivery(2, kind="../../etc/passwd"))
    assert (await kafka.consume(f"{prefix}.meeting.started", 1))[0].headers["ce_id"] == b"event-1"
    assert (await kafka.consume(f"{prefix}.other", 1))[0].headers["ce_type"] == b"../../etc/passwd"


# -- what is refused -----------------------------------------------------------------------------------------------


async def test_unknown_topic_is_the_fault_of_the_sink(
    kafka: Broker, make_sink: MakeSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_real(kafka)
    monkeypatch.setattr("relay.sinks.kafka._MAX_REQUEST_TIMEOUT", 100.0)
    sink = make_sink(kafka.bootstrap, f"test-{uuid4()}", timeout="100s")
    async with asyncio.timeout(40.0):  # aiokafka alone would take its whole request time-out
        errors = await asyncio.gather(*(failure(sink.deliver(delivery(number))) for number in range(50)))
    for error in errors:
        assert isinstance(error, Misconfigured)
        assert error.failure.reason is Reason.UNKNOWN_TOPIC
        assert (error.certain, error.partly) == (True, False)


async def test_topic_that_is_created_later_is_found(kafka: Broker, make_sink: MakeSink) -> None:
    only_real(kafka)
    name = f"test-{uuid4()}"
    sink = make_sink(kafka.bootstrap, name)
    await failure(sink.deliver(delivery()))
    await kafka.create_topic(name)
    assert (await sink.deliver(delivery())).startswith(name)


async def test_topic_that_was_deleted(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    only_real(kafka)
    sink = make_sink(kafka.bootstrap, topic, timeout=SHORT)
    await until_delivered(sink, delivery())
    await kafka.delete_topic(topic)
    async with asyncio.timeout(40.0):
        while not isinstance(error := await failure(sink.deliver(delivery())), Misconfigured):
            assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.UNKNOWN_TOPIC


async def test_missing_topic_of_a_template_pauses_no_other(kafka: Broker, make_sink: MakeSink) -> None:
    only_real(kafka)
    error = await failure(make_sink(kafka.bootstrap, f"test-{uuid4()}." + "{type}").deliver(delivery()))
    assert isinstance(error, Misconfigured)
    assert error.partly


async def test_too_large_for_us(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    sink = make_sink(kafka.bootstrap, topic, max_request_size="1KiB")
    error = await failure(sink.deliver(delivery(body=b"x" * 2000)))
    assert isinstance(error, Rejected)
    assert error.failure.reason is Reason.TOO_LARGE
    await sink.deliver(delivery(1))
    assert await kafka.size(topic) == 1


async def test_too_large_for_the_topic_takes_nobody_along(kafka: Broker, make_sink: MakeSink) -> None:
    only_real(kafka)
    name = await kafka.create_topic(f"test-{uuid4()}", **{"max.message.bytes": 2000})
    sink = make_sink(kafka.bootstrap, name)
    await sink.deliver(delivery(0))
    small = [delivery(number) for number in range(1, 30)]  # together they are too large as well
    outcomes = asyncio.gather(*(until_delivered(sink, each) for each in small))
    error = await failure(sink.deliver(delivery(99, body=b"x" * 5000)))
    assert isinstance(error, Rejected)
    assert error.failure.reason is Reason.TOO_LARGE
    await outcomes
    records = await kafka.consume(name, 30)
    assert {record.headers["ce_id"] for record in records} == {f"event-{number}".encode() for number in range(30)}


# -- its life ------------------------------------------------------------------------------------------------------


async def test_nothing_happens_before_the_first_delivery(make_sink: MakeSink) -> None:
    connections: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: connections.append(writer), "127.0.0.1", 0)
    async with server:
        sink = make_sink(address(server), "events")
        await sink.close()
    assert connections == []


async def test_closed_twice_and_used_after(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    sink = make_sink(kafka.bootstrap, topic)
    await sink.deliver(delivery())
    await asyncio.gather(sink.close(), sink.close())
    await sink.close()
    error = await failure(sink.deliver(delivery()))
    assert error.failure.reason is Reason.STOPPING


async def test_close_lets_sends_under_way_finish(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    sink = make_sink(kafka.bootstrap, topic, linger_ms=200)
    await sink.deliver(delivery(0))
    under_way = [asyncio.ensure_future(sink.deliver(delivery(number))) for number in range(1, 20)]
    await asyncio.sleep(0)  # let them hand over
    await sink.close()
    assert len(await asyncio.gather(*under_way)) == 19
    assert await kafka.size(topic) == 20


async def test_cancelled_send_harms_no_other(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    sink = make_sink(kafka.bootstrap, topic, linger_ms=100)
    await sink.deliver(delivery(0))
    cancelled = asyncio.ensure_future(sink.deliver(delivery(1)))
    others = [asyncio.ensure_future(sink.deliver(delivery(number))) for number in range(2, 20)]
    await asyncio.sleep(0)
    cancelled.cancel()
    assert len(await asyncio.gather(*others)) == 18
    await asyncio.wait({cancelled})
    assert cancelled.cancelled()


async def test_cancelled_start_harms_no_other(kafka: Broker, topic: str, make_sink: MakeSink) -> None:
    sink = make_sink(kafka.bootstrap, topic)
    first = asyncio.ensure_future(sink.deliver(delivery(0)))
    second = asyncio.ensure_future(sink.deliver(delivery(1)))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).startswith(topic)
