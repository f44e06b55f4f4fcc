"""The Kafka sink and a broker in trouble: stopped, killed, hanging, or never there."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from relay.errors import Unavailable
from relay.model import Reason
from tests.brokers import Broker
from tests.fakes.kafka_wire import METADATA, KafkaWire
from tests.fakes.wire import Hanging
from tests.kafka.real import RealBroker
from tests.kafka.sinks import (
    CLOSE_LIMIT,
    LONG,
    SHORT,
    MakeSink,
    address,
    delivery,
    failure,
    kept_sinks,
    until_delivered,
)
from tests.ports import free_port
from tests.running import until

pytestmark = pytest.mark.kafka


@pytest.fixture(autouse=True)
def _requests_take_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else aiokafka gives up by itself after ten seconds, which a close that waits for it would pass for short."""
    monkeypatch.setattr("relay.sinks.kafka._MAX_REQUEST_TIMEOUT", 1000.0)


@pytest.fixture
async def make_sink() -> AsyncIterator[MakeSink]:
    async with kept_sinks() as make:
        yield make


@pytest.fixture
def own(own_kafka: RealBroker) -> Broker:
    """The broker that these tests may hurt, as a client sees it."""
    return Broker(own_kafka.bootstrap, kind="real")


@pytest.fixture
async def own_topic(own: Broker) -> str:
    return await own.create_topic(f"test-{uuid4()}")


async def test_no_broker_at_all(make_sink: MakeSink, caplog: pytest.LogCaptureFixture) -> None:
    sink = make_sink(f"127.0.0.1:{free_port()}", "events")
    with caplog.at_level(logging.WARNING):
        errors = await asyncio.gather(*(failure(sink.deliver(delivery(number))) for number in range(50)))
    assert {error.failure.reason for error in errors} == {Reason.CONNECT}
    assert caplog.records == []


async def test_name_that_does_not_resolve(make_sink: MakeSink) -> None:
    error = await failure(make_sink("kafka.invalid:9092", "events").deliver(delivery()))
    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.DNS


async def test_listener_that_hangs_up(make_sink: MakeSink) -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        error = await failure(make_sink(address(server), "e").deliver(delivery()))
    assert error.failure.reason is Reason.CONNECT
    assert "security_protocol" in error.failure.detail


async def test_a_start_that_fails_after_everybody_has_given_up_is_no_complaint(make_sink: MakeSink) -> None:
    """`make_sink` looks for complaints."""
    async with KafkaWire(free_port()) as wire:
        await wire.switch(Hanging())
        sink = make_sink(wire.address, "events", timeout="300ms")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sink.deliver(delivery()), 0.01)
        start = sink._connection._start
        assert start is not None
        await asyncio.wait({start})
        del start
        await failure(sink.deliver(delivery()))  # begins another one, and forgets the first
        gc.collect()


async def test_cluster_that_says_nothing_of_itself(own: Broker, own_kafka: RealBroker, make_sink: MakeSink) -> None:
    """It greets and then hangs: aiokafka forgets the connection where its start is given up at that point."""
    async with KafkaWire(own_kafka.port) as wire:
        wire.kept_back.add(METADATA)
        sink = make_sink(wire.address, "events", timeout=SHORT)
        error = await failure(sink.deliver(delivery()))
        assert isinstance(error, Unavailable)
        assert error.failure.reason is Reason.TIMEOUT
        assert wire.connections > 0

        async def closed() -> bool:
            return wire.open == 0

        await until(closed, "end of the connection")


async def test_broker_goes_and_comes_back(
    own_kafka: RealBroker, own: Broker, own_topic: str, make_sink: MakeSink, caplog: pytest.LogCaptureFixture
) -> None:
    sink, doomed = (make_sink(own.bootstrap, own_topic, timeout=timeout) for timeout in (SHORT, LONG))
    await sink.deliver(delivery(0))
    await doomed.deliver(delivery(0))
    await asyncio.to_thread(own_kafka.stop)
    with caplog.at_level(logging.WARNING):
        assert isinstance(await failure(sink.deliver(delivery(1))), Unavailable)
        assert (await failure(sink.deliver(delivery(1)))).failure.reason is Reason.CONNECT
        under_way = asyncio.ensure_future(failure(doomed.deliver(delivery(2))))
        await asyncio.sleep(0)
        async with asyncio.timeout(CLOSE_LIMIT):
            await doomed.close()
            assert isinstance(await under_way, Unavailable)
    assert caplog.records == []
    await asyncio.to_thread(own_kafka.start)
    await until_delivered(sink, delivery(1))
    records = await own.consume(own_topic, 3)
    assert [record.headers["ce_id"] for record in records] == [b"event-0", b"event-0", b"event-1"]


async def test_killed_broker_loses_nothing_acknowledged(
    own_kafka: RealBroker, own: Broker, own_topic: str, make_sink: MakeSink
) -> None:
    sink = make_sink(own.bootstrap, own_topic, timeout=SHORT)
    first_hundred = asyncio.Event()
    receipts: list[str] = []

    async def send(worker: int) -> None:
        for step in range(60):
            receipts.append(await until_delivered(sink, delivery(worker * 60 + step, meeting=f"m-{worker}")))
            if len(receipts) > 100:
                first_hundred.set()

    async with asyncio.TaskGroup() as group:
        for worker in range(10):
            group.create_task(send(worker))
        await first_hundred.wait()
        await asyncio.to_thread(own_kafka.kill)
        await asyncio.to_thread(own_kafka.start)
    written = await own.size(own_topic)
    records = await own.consume(own_topic, written)
    assert {record.headers["ce_id"] for record in records} == {f"event-{number}".encode() for number in range(600)}


async def test_hanging_broker_is_ambiguous_and_the_producer_replaced(
    own_kafka: RealBroker, own: Broker, own_topic: str, make_sink: MakeSink
) -> None:
    sink = make_sink(own.bootstrap, own_topic, timeout=SHORT)
    await until_delivered(sink, delivery(0))
    own_kafka.pause()
    first = sink._connection._current
    errors = await asyncio.gather(*(failure(sink.deliver(delivery(number))) for number in range(1, 100)))
    for error in errors:
        assert isinstance(error, Unavailable)
        assert error.failure.reason is Reason.TIMEOUT
        assert "may have been written" in error.failure.detail
    assert sink._connection._current is not first
    nothing_sent = await failure(sink.deliver(delivery(1)))  # now there is not even a connection
    assert nothing_sent.failure.reason is Reason.TIMEOUT
    assert "may have been written" not in nothing_sent.failure.detail
    own_kafka.resume()
    await asyncio.gather(*(until_delivered(sink, delivery(number)) for number in range(1, 100)))
    records = await own.consume(own_topic, await own.size(own_topic))
    assert {record.headers["ce_id"] for record in records} == {f"event-{number}".encode() for number in range(100)}
    assert len(records) < 300  # each at most once more for the attempt of unknown fate


async def test_send_cancelled_by_the_lane_replaces_a_hanging_producer(
    own_kafka: RealBroker, own: Broker, own_topic: str, make_sink: MakeSink
) -> None:
    sink = make_sink(own.bootstrap, own_topic)
    await sink.deliver(delivery(0))
    first = sink._connection._current
    own_kafka.pause()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(sink.deliver(delivery(1)), 0.3)
    assert sink._connection._current is not first
    own_kafka.resume()
    await until_delivered(sink, delivery(1))


async def test_close_does_not_wait_for_a_hanging_broker(
    own_kafka: RealBroker, own: Broker, own_topic: str, make_sink: MakeSink
) -> None:
    sink = make_sink(own.bootstrap, own_topic, timeout=LONG)
    await sink.deliver(delivery(0))
    own_kafka.pause()
    body = b"x" * 200_000  # more than the socket takes
    under_way = [asyncio.ensure_future(failure(sink.deliver(delivery(n, body=body)))) for n in range(1, 30)]
    await asyncio.sleep(0)
    async with asyncio.timeout(CLOSE_LIMIT):
        await sink.close()
        errors = await asyncio.gather(*under_way)
    assert {error.failure.reason for error in errors} == {Reason.RESET}


async def test_close_while_it_connects(own_kafka: RealBroker, own: Broker, own_topic: str, make_sink: MakeSink) -> None:
    own_kafka.pause()
    sink = make_sink(own.bootstrap, own_topic, timeout=LONG)
    waiting = asyncio.ensure_future(failure(sink.deliver(delivery())))
    await asyncio.sleep(0)
    async with asyncio.timeout(CLOSE_LIMIT):
        await sink.close()
    assert (await waiting).failure.reason is Reason.STOPPING


async def test_stuck_topic_holds_up_no_other(own: Broker, make_sink: MakeSink) -> None:
    prefix = f"test-{uuid4()}"
    for label in ("meeting.started", "other"):
        await own.create_topic(f"{prefix}.{label}")
    sink = make_sink(own.bootstrap, prefix + ".{type}", timeout=SHORT)
    await sink.deliver(delivery(0))
    await sink.deliver(delivery(1, kind="unknown"))
    first = sink._connection._current
    await own.delete_topic(f"{prefix}.other")
    stuck = asyncio.ensure_future(failure(sink.deliver(delivery(2, kind="unknown"))))
    number = 10
    while not stuck.done():
        await sink.deliver(delivery(number))
        number += 1
    assert isinstance(await stuck, Unavailable)
    assert sink._connection._current is not first
    assert await own.size(f"{prefix}.meeting.started") == number - 9
