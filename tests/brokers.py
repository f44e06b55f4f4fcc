"""Kafka for the tests: the fixtures `kafka` (one broker for the session) and `own_kafka` (one that a test may hurt).

Which broker `kafka` is: `RELAY_TEST_KAFKA=host:port` if set; else a real one, where Java and Maven are there; else
librdkafka's mock cluster. Where CI is set, a missing real broker fails the run instead.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka.real import BrokerError, RealBroker

_CLIENT_SECONDS = 30.0
_STALL_SECONDS, _STALL_PAUSE = 60.0, 0.5
"""How long a broker may take to be itself again after a stall of the machine, which has kept it from its heartbeats."""
_STALLED = (KafkaError.INVALID_REPLICATION_FACTOR, KafkaError._TIMED_OUT, KafkaError.REQUEST_TIMED_OUT)
_QUIET: Mapping[str, Any] = {"log_level": 0}  # a broker that a test kills is no news


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One message as librdkafka read it."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: Mapping[str, bytes]
    timestamp: int
    """Milliseconds since 1970, as the producer set it."""


class Broker:
    """A Kafka cluster that tests write to, and read with librdkafka: another implementation than the sink's."""

    def __init__(self, bootstrap: str, *, kind: str) -> None:
        self.bootstrap = bootstrap
        self.kind = kind
        """`real` or `mock`."""

    @property
    def real(self) -> bool:
        """Whether this is Apache Kafka."""
        return self.kind == "real"

    async def create_topic(self, name: str, *, partitions: int = 1, **config: str | int) -> str:
        """Create a topic and return its name. The mock has 4 partitions for each topic, whatever is asked."""
        await asyncio.to_thread(self._create_topic, name, partitions, {key: str(config[key]) for key in config})
        return name

    async def delete_topic(self, name: str) -> None:
        """Delete a topic; returns when the broker has."""
        await asyncio.to_thread(self._await_admin, self._admin().delete_topics, [name])

    async def consume(self, topic: str, count: int, *, timeout: float = 40.0) -> list[Record]:
        """The topic's first `count` records, each partition in its order.

        Raises:
            TimeoutError: there were fewer within `timeout` seconds.
        """
        return await asyncio.to_thread(self._consume, topic, count, timeout)

    async def size(self, topic: str) -> int:
        """How many records the topic has, over all partitions."""
        return await asyncio.to_thread(self._size, topic)

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, **_QUIET})

    def _await_admin(self, call: Any, *arguments: Any) -> None:
        for future in call(*arguments).values():
            future.result(_CLIENT_SECONDS)

    def _create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        if self.real:
            topic = NewTopic(name, num_partitions=partitions, replication_factor=1, config=dict(config))
            deadline = time.monotonic() + _STALL_SECONDS
            while True:
                try:
                    self._await_admin(self._admin().create_topics, [topic])
                    break
                except TimeoutError:
                    if time.monotonic() > deadline:
                        raise
                except KafkaException as error:
                    code = error.args[0].code()
                    if code == KafkaError.TOPIC_ALREADY_EXISTS:  # it was made, and the answer came too late
                        break
                    if code not in _STALLED or time.monotonic() > deadline:
                        raise
                    time.sleep(_STALL_PAUSE)
        else:
            Producer({"bootstrap.servers": self.bootstrap, **_QUIET}).list_topics(name, timeout=_CLIENT_SECONDS)

    def _consume(self, topic: str, count: int, timeout: float) -> list[Record]:
        consumer = self._consumer()
        try:
            consumer.assign(self._partitions(consumer, topic))
            return list(_read(consumer, topic, count, time.monotonic() + timeout))
        finally:
            consumer.close()

    def _size(self, topic: str) -> int:
        consumer = self._consumer()
        try:
            marks = [consumer.get_watermark_offsets(at, _CLIENT_SECONDS) for at in self._partitions(consumer, topic)]
            return sum(high - low for low, high in marks)
        finally:
            consumer.close()

    def _consumer(self) -> Consumer:
        return Consumer(
            {"bootstrap.servers": self.bootstrap, "group.id": "tests", "enable.auto.commit": False, **_QUIET}
        )

    def _partitions(self, consumer: Consumer, topic: str) -> list[TopicPartition]:
        metadata = consumer.list_topics(topic, timeout=_CLIENT_SECONDS).topics[topic]
        return [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in metadata.partitions]


def _read(consumer: Consumer, topic: str, count: int, deadline: float) -> Iterator[Record]:
    for seen in range(count):
        message = None
        while message is None:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError(f"{topic} gave {seen} of {count} records")
            message = consumer.poll(remaining)
        if message.error() is not None:
            raise KafkaException(message.error())
        yield _record(message)


def _record(message: Any) -> Record:  # each of its values may be None, says its type; in a record that was read none is
    return Record(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        key=message.key(),
        value=message.value(),
        headers=dict(message.headers() or ()),
        timestamp=message.timestamp()[1],
    )


@pytest.fixture(scope="session")
def kafka() -> Iterator[Broker]:
    """A broker for the whole session. Nobody may stop it: tests that do take `own_kafka`."""
    external = os.environ.get("RELAY_TEST_KAFKA")
    if external:
        yield Broker(external, kind="real")
        return
    process = start_real()
    if process is not None:
        with process:
            yield Broker(process.bootstrap, kind="real")
        return
    mock = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, **_QUIET})
    brokers = mock.list_topics(timeout=_CLIENT_SECONDS).brokers.values()
    yield Broker(",".join(f"{broker.host}:{broker.port}" for broker in brokers), kind="mock")
    mock.flush(0)  # the cluster lives as long as this producer


@pytest.fixture(scope="session")
def _own_kafka() -> Iterator[RealBroker]:
    process = start_real()
    if process is None:
        pytest.skip("needs a real Kafka broker: Java and Maven")
    with process:
        yield process


@pytest.fixture
def own_kafka(_own_kafka: RealBroker) -> RealBroker:
    """A real broker that runs when the test begins; the test may stop, kill or pause it."""
    _own_kafka.resume()
    _own_kafka.start()
    return _own_kafka


def start_real(*, port: int | None = None, extra: str = "") -> RealBroker | None:
    """A running broker, `extra` being lines of server.properties; None where there can be none, which fails in CI."""
    process = RealBroker(port=port, extra=extra)
    try:
        process.start()
    except BrokerError as error:
        process.close()
        if os.environ.get("CI"):
            pytest.fail(f"where CI is set, the tests need a real Kafka broker: {error}", pytrace=False)
        logging.getLogger(__name__).warning("no real Kafka broker: %s", error)
        return None
    return process
