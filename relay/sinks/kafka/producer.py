"""aiokafka's producer, made mortal: every wait has an end, and a producer that hangs or died is replaced.

What aiokafka 0.14 does, and this module lives with (its `producer/sender.py`, `producer.py` and `client.py`):

- An idempotent producer never expires a batch: `send`, `flush` and `stop` wait for ever for a broker that is gone.
- Cancelling the wait for an acknowledgement does not withdraw the record; it may still be written.
- A batch that the broker refuses leaves a gap in the sequence numbers of its partition, and every later batch is then
  refused too. So a producer is done for after any refusal, not only after a fatal one.
- An unknown topic blocks `send` for the whole request time-out.
- A start that is cancelled while it asks for the brokers forgets the connection that it asks by.

Idempotence holds within one producer. When one is given up, its successor sends the records of unknown fate again; an
old copy may arrive besides, even after its retry, until the old connection is dropped (`GRACE_SECONDS`) and the broker
has worked off what it had received by then.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerClosed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
)
from aiokafka.partitioner import murmur2
from aiokafka.structs import RecordMetadata, TopicPartition

from relay.sinks.kafka.message import Record
from relay.waiting import happens

GRACE_SECONDS = 2.0
"""How long the sends that a producer has under way may still succeed after it was replaced."""
STOP_SECONDS = 1.5
"""How long a producer may take to stop in order, before its tasks are cancelled and its connections dropped."""
_END_SECONDS = 0.5
_LOOKS = (1 / 15, 2 / 15, 4 / 15, 8 / 15)


class TooLargeTogether(Exception):
    """The broker refused a whole batch as too large; which record is to blame shows when each is sent alone."""


class _ClientId(str):
    """A name whose identity tells whose connection it is on."""

    __slots__ = ()


class Producer(AIOKafkaProducer):  # type: ignore[misc]  # aiokafka is untyped
    """One producer, from its start to its end."""

    def __init__(self, *, client_id: str, **settings: Any) -> None:
        super().__init__(acks="all", enable_idempotence=True, client_id=_ClientId(client_id), **settings)
        self.broken = False
        """It must get no more records."""
        self.retired = False
        """It is being closed."""
        self._new_future = asyncio.get_running_loop().create_future
        self._under_way = 0
        self._idle = asyncio.Event()
        self._acknowledged = 0

    async def write(self, record: Record, *, patience: float, alone: bool = False) -> RecordMetadata:
        """Hand over one record, alone in its batch or not, and wait for the acknowledgement.

        Raises:
            TooLargeTogether: in the company of others, it went down with them.
            KafkaError: it was refused, or its topic was not found within `patience` seconds.
        """
        if self.broken:
            raise ProducerClosed
        acknowledged = self._acknowledged
        self._under_way += 1
        try:
            if not self.client.cluster.partitions_for_topic(record.topic):
                await self._find(record.topic, patience)
            metadata = await self._send_and_wait(record, alone=alone)
        except asyncio.CancelledError:
            # Given up by the one who waits. If nothing at all was acknowledged meanwhile, the broker hangs.
            if self._acknowledged == acknowledged:
                self.broken = True
            raise
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        self._acknowledged += 1
        return metadata

    def brokers(self) -> list[str]:
        """The brokers that the cluster names as its own; empty before the first answer."""
        return sorted(f"{broker.host}:{broker.port}" for broker in self.client.cluster.brokers())

    async def close(self) -> None:
        """End it within `GRACE_SECONDS + STOP_SECONDS` and a moment, whatever the broker does."""
        if self._under_way:
            self._idle.clear()
            await happens(self._idle, within=GRACE_SECONDS)
        if not self.broken and not self._under_way:
            stop = asyncio.ensure_future(self.stop())
            await asyncio.wait({stop}, timeout=STOP_SECONDS)
            await end({stop})
        self._abort()
        await end(self._tasks())

    async def _find(self, topic: str, patience: float) -> None:
        """Ask the cluster for a topic that is not known yet; return as soon as it is there."""
        cluster = self.client.cluster
        self.client.add_topic(topic)
        answered = False
        for share in _LOOKS:
            answered = await self.client.force_metadata_update()
            if cluster.partitions_for_topic(topic):
                return
            if topic in cluster.unauthorized_topics:
                raise TopicAuthorizationFailedError(topic)
            await asyncio.sleep(share * patience)
        raise UnknownTopicOrPartitionError(topic) if answered else KafkaConnectionError("no metadata")

    async def _send_and_wait(self, record: Record, *, alone: bool) -> RecordMetadata:
        future: asyncio.Future[RecordMetadata] | None = None
        try:
            future = await (self._send_alone(record) if alone else self._send(record))
            return await future
        except MessageSizeTooLargeError as error:
            if future is None:  # found out before anything was sent
                raise
            self.broken = True
            if alone:
                raise
            raise TooLargeTogether from error
        except KafkaError:
            self.broken = True
            raise

    async def _send(self, record: Record) -> asyncio.Future[RecordMetadata]:
        """What aiokafka's `send` does, where the topic is known and there are no transactions."""
        _, key, body, headers = record
        self._serialize(key, body, headers)  # nothing to serialize: it looks at the size
        partition = self._place(record)
        accumulator = self._message_accumulator
        queued = accumulator._batches.get(partition)  # noqa: SLF001
        future: asyncio.Future[RecordMetadata] | None = None
        if queued and not accumulator._closed and accumulator._exception is None:  # noqa: SLF001
            future = queued[-1].append(key, body, None, self._new_future, headers=headers)
        if future is None:  # the first of a batch, or there is no more room in the last one
            seconds = self._request_timeout_ms / 1000
            future = await accumulator.add_message(partition, key, body, seconds, headers=headers)
        return future

    def _place(self, record: Record) -> TopicPartition:
        """As every client of Kafka chooses it, but each key is hashed once: in pure Python that is slow."""
        topic, key, body, _ = record
        if key is None:
            return TopicPartition(topic, self._partition(topic, None, None, None, key, body))
        partitions: Sequence[int] = list(self._metadata.partitions_for_topic(topic))
        return TopicPartition(topic, partitions[_hashed(key) % len(partitions)])

    async def _send_alone(self, record: Record) -> asyncio.Future[RecordMetadata]:
        partition = self._partition(record.topic, None, None, None, record.key, record.body)
        batch = self.create_batch()
        batch.append(timestamp=None, key=record.key, value=record.body, headers=record.headers)
        batch.close()
        future: asyncio.Future[RecordMetadata] = await self.send_batch(batch, record.topic, partition=partition)
        return future

    def _abort(self) -> None:
        """Wait for nobody: fail the sends still under way, forget what is queued, drop the connections."""
        self._closed = True  # `stop` is not coming, so deletion need not warn of it
        self._forget_queue()
        for connection in self._connections():  # client.close() would wait for a dead peer
            writer = connection._writer  # noqa: SLF001
            connection.close()
            if writer is not None:
                writer.transport.abort()

    def _forget_queue(self) -> None:
        """Fail all batches. `fail_all` alone would trip over one that waits to be sent again, and leave an exception
        behind, unseen, for each that no sender waits to get into."""
        accumulator = self._message_accumulator
        queued = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
        accumulator._pending_batches.update(batch for batch in queued if batch.retry_count)  # noqa: SLF001
        accumulator.fail_all(ProducerClosed())
        for batch in queued:
            batch._drain_waiter.exception()  # noqa: SLF001

    def _tasks(self) -> set[asyncio.Task[Any]]:
        """What runs for this producer. aiokafka keeps no list of it, so tasks are told by whose method they run."""
        owners = {id(owner) for owner in (self.client, self._sender, self._message_accumulator)}
        return {task for task in asyncio.all_tasks() if id(_local(task, "self")) in owners}

    def _connections(self) -> list[AIOKafkaConnection]:
        """All that are open, also those that are forgotten: each has a task that reads."""
        readers = (_local(task, "self_ref") for task in asyncio.all_tasks())
        open_ones = [reader() for reader in readers if isinstance(reader, weakref.ref)]
        ours = self.client._client_id  # noqa: SLF001
        return [each for each in open_ones if isinstance(each, AIOKafkaConnection) and each._client_id is ours]  # noqa: SLF001


@lru_cache(maxsize=4096)
def _hashed(key: bytes) -> int:
    positive: int = murmur2(key) & 0x7FFFFFFF
    return positive


def _local(task: asyncio.Task[Any], name: str) -> object:
    """A local variable of what a task runs; None if that cannot be told."""
    frame = getattr(task.get_coro(), "cr_frame", None)
    return None if frame is None else frame.f_locals.get(name)


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and see them end; what they died of no longer matters."""
    ending = set(tasks)
    for task in ending:
        task.cancel()
    if ending:
        done, _ = await asyncio.wait(ending, timeout=_END_SECONDS)
        _ = [task.exception() for task in done if not task.cancelled()]
