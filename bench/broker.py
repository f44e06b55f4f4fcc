"""Apache Kafka for a measurement: one broker, on the core of the load, and how many records a topic has."""

from __future__ import annotations

from itertools import count
from types import TracebackType
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.kafka.real import RealBroker

PARTITIONS = 8
_SECONDS = 30.0
_topics = count(1)


class Broker:
    """A real broker, whose every topic bears the time at which it took a record."""

    def __init__(self) -> None:
        self._real = RealBroker()
        self._consumer: Consumer | None = None
        self._admin: AdminClient | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""
        return self._real.bootstrap

    def topic(self) -> str:
        """A new one."""
        name = f"events-{next(_topics)}"
        config = {"message.timestamp.type": "LogAppendTime"}
        made = NewTopic(name, num_partitions=PARTITIONS, replication_factor=1, config=config)
        self._await(self._administrator().create_topics([made]))
        return name

    def forget(self, topic: str) -> None:
        """Delete it, so that the disk does not fill."""
        self._await(self._administrator().delete_topics([topic]))

    def size(self, topic: str) -> int:
        """How many records it has."""
        consumer = self._reader()
        marks = (
            consumer.get_watermark_offsets(TopicPartition(topic, partition), _SECONDS)
            for partition in range(PARTITIONS)
        )
        return sum(high - low for low, high in marks)

    def taken(self, topic: str) -> dict[str, float]:
        """When each event was appended, by its id, in seconds since 1970; an event that is there twice, at first."""
        wanted, found, read = self.size(topic), dict[str, float](), 0
        consumer = self._reader()
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(PARTITIONS)])
        while read < wanted:
            messages = consumer.consume(min(10_000, wanted - read), _SECONDS)
            if not messages:
                raise TimeoutError(f"{topic} gave {read} of {wanted} records")
            for message in messages:
                if message.error() is not None:
                    raise KafkaException(message.error())
                read += 1
                found.setdefault(_event(message), message.timestamp()[1] / 1000)
        consumer.unassign()
        return found

    def _administrator(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin  # kept: what it promises dies with it

    def _await(self, promised: dict[str, Any]) -> None:
        for future in promised.values():
            future.result(_SECONDS)

    def _reader(self) -> Consumer:
        if self._consumer is None:
            settings = {
                "bootstrap.servers": self.bootstrap,
                "group.id": "bench",
                "enable.auto.commit": False,
                "log_level": 0,
            }
            self._consumer = Consumer(settings)
        return self._consumer

    def __enter__(self) -> Broker:
        self._real.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._consumer is not None:
            self._consumer.close()
        self._real.close()


def _event(message: Any) -> str:  # each of its values may be None, says its type; in a record that was read none is
    identifier: bytes = dict(message.headers())["ce_id"]
    return identifier.decode()
