"""A Kafka for the demo: librdkafka's mock cluster, inside this process, and an independent reader of its topics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any

from relay.errors import StartError
from relay.model import value

_SECONDS = 10.0
_GLANCE = 0.2


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

    async def follow(self) -> AsyncIterator[Message | None]:
        """The topic's messages as they come, from its beginning; None, a few times a second, where none came."""
        consumer, _ = await asyncio.to_thread(self._consumer)
        polling: asyncio.Future[Any] | None = None
        try:
            while True:
                polling = asyncio.ensure_future(asyncio.to_thread(consumer.poll, _GLANCE))
                message = await asyncio.shield(polling)
                yield None if message is None or message.error() else _message(message)
        finally:
            if polling is not None:
                await asyncio.wait({polling})  # closed under its hands, librdkafka may crash
            await asyncio.to_thread(consumer.close)

    def _start(self) -> None:
        try:
            from confluent_kafka import Producer  # noqa: PLC0415 - an extra: only the demo needs it
        except ImportError as error:
            raise StartError("the demo's Kafka needs: pip install 'dyte-relay[demo]'") from error
        self._cluster = Producer({"bootstrap.servers": "unused", "test.mock.num.brokers": 1, "log_level": 0})
        metadata = self._cluster.list_topics(self.topic, timeout=_SECONDS)  # asking for a topic creates it
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in metadata.brokers.values())

    def _read(self, count: int) -> list[Message]:
        consumer, partitions = self._consumer()
        try:
            marks = [consumer.get_watermark_offsets(partition, _SECONDS) for partition in partitions]
            count = max(count, sum(high - low for low, high in marks))  # more than were promised shall show
            found: list[Message] = []
            while len(found) < count and (message := consumer.poll(3.0)) is not None:
                found.append(_message(message))
            return found
        finally:
            consumer.close()

    def _consumer(self) -> tuple[Any, list[Any]]:
        """A reader of the whole topic from its beginning, and the partitions that it reads."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition  # noqa: PLC0415 - an extra

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "demo", "log_level": 0})
        numbers = consumer.list_topics(self.topic, timeout=_SECONDS).topics[self.topic].partitions
        partitions = [TopicPartition(self.topic, number, OFFSET_BEGINNING) for number in numbers]
        consumer.assign(partitions)
        return consumer, partitions


def _message(message: Any) -> Message:
    return Message(
        partition=message.partition(),
        key=(message.key() or b"").decode(),
        headers={name: text.decode() for name, text in message.headers() or ()},
        body=message.value(),
    )
