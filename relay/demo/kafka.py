"""A Kafka for the demo: librdkafka's mock cluster, inside this process, and an independent reader of its topics."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from relay.errors import StartError
from relay.model import value

_SECONDS = 10.0


@value
class Message:
    """One message of a topic."""

    partition: int
    key: str
    headers: dict[str, str]
    body: bytes


class DemoKafka:
    """One mock broker. librdkafka is another implementation than the relay's, so its reading proves something."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.bootstrap = ""
        self._cluster: Any = None

    async def __aenter__(self) -> DemoKafka:
        await asyncio.to_thread(self._start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self._cluster.flush, 1.0)
        self._cluster = None  # the mock cluster lives as long as the producer that made it

    async def read(self, count: int) -> list[Message]:
        """All the topic's messages; those that `count` promises are waited for, a few seconds each."""
        return await asyncio.to_thread(self._read, count)

    def _start(self) -> None:
        try:
            from confluent_kafka import Producer  # noqa: PLC0415 - an extra: only the demo needs it
        except ImportError as error:
            raise StartError("the demo's Kafka needs: pip install 'dyte-relay[demo]'") from error
        self._cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
        metadata = self._cluster.list_topics(self.topic, timeout=_SECONDS)  # asking for a topic creates it
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())

    def _read(self, count: int) -> list[Message]:
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition  # noqa: PLC0415 - an extra

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "demo", "log_level": 0})
        try:
            partitions = consumer.list_topics(self.topic, timeout=_SECONDS).topics[self.topic].partitions
            consumer.assign([TopicPartition(self.topic, number, OFFSET_BEGINNING) for number in partitions])
            marks = [consumer.get_watermark_offsets(TopicPartition(self.topic, each), _SECONDS) for each in partitions]
            count = max(count, sum(high - low for low, high in marks))  # more than were promised shall show
            found: list[Message] = []
            while len(found) < count and (message := consumer.poll(3.0)) is not None:
                found.append(_message(message))
            return found
        finally:
            consumer.close()


def _message(message: Any) -> Message:
    return Message(
        partition=message.partition(),
        key=(message.key() or b"").decode(),
        headers={name: text.decode() for name, text in message.headers() or ()},
        body=message.value(),
    )
