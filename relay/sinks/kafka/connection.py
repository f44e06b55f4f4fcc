"""The connection of a Kafka sink: the producer in use, its start on demand, and its replacement when it breaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from ssl import SSLContext
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import RecordMetadata

from relay.deadlines import Deadlines
from relay.errors import DeliveryError, Unavailable
from relay.model import Reason
from relay.sinks.kafka.errors import explain_start, refusal
from relay.sinks.kafka.message import Record
from relay.sinks.kafka.producer import GRACE_SECONDS, STOP_SECONDS, Producer, end

CLOSE_SECONDS = 4.5
"""How long `Connection.close` may take: a little more than grace and stop."""
_START_SHARE = 0.6
"""Of the time for one send, so much may go into connecting."""
_TOPIC_SHARE = 0.3
_TOPIC_SECONDS = 1.5
"""How long a topic is looked for at most: a broker that creates topics on first use takes a moment to do so."""
_PROBES = 3
_PROBE_MS = 1000
_LOGIN = ("security_protocol", "ssl_context", "sasl_mechanism", "sasl_plain_username", "sasl_plain_password")


class Connection:
    """The producer in use, and those that are on their way out. Does no I/O until the first send."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        *,
        tls: Callable[[], SSLContext] | None = None,
        seconds: float,
        on_broken: Callable[[], None] = lambda: None,
    ) -> None:
        """`settings` are aiokafka's; `tls` may raise DeliveryError; `seconds` bound one send, connecting included.

        `on_broken` is called when a producer that was in use is given up.
        """
        self._settings = settings
        self._servers = ", ".join(settings["bootstrap_servers"])
        self._tls = tls
        self._seconds = seconds
        self._deadlines = Deadlines(seconds)
        self._patience = min(_TOPIC_SECONDS, seconds * _TOPIC_SHARE)
        self._current: Producer | None = None
        self._start: asyncio.Task[Producer] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._on_broken = on_broken
        self._closed = False

    async def send(self, record: Record, *, alone: bool = False) -> RecordMetadata:
        """Write one record with the producer in use, starting one if there is none.

        Raises:
            DeliveryError: there is no connection to be had.
            TimeoutError: no acknowledgement in time; the record may be written all the same.
            KafkaError, TooLargeTogether: it was refused.
        """
        producer = self._current
        task = self._deadlines.begin()
        try:
            producer = producer or await self._started()
            return await producer.write(record, patience=self._patience, alone=alone)
        except asyncio.CancelledError as error:
            if not self._deadlines.passed(task):
                raise
            if producer is not None:
                producer.broken = True
            raise TimeoutError from error
        finally:
            self._deadlines.end(task)
            if producer is not None and producer.broken:
                self._retire(producer)

    async def close(self) -> None:
        """Let go of everything within `CLOSE_SECONDS`. May be called twice."""
        self._closed = True
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait({self._start}, timeout=CLOSE_SECONDS - GRACE_SECONDS - STOP_SECONDS)
        if self._current is not None:
            self._retire(self._current)
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=CLOSE_SECONDS)
            await end(self._leaving)

    async def _started(self) -> Producer:
        """The one start that all who need it wait for; cancelling one of them does not cancel it."""
        if self._closed:
            raise Unavailable(Reason.STOPPING, "the sink is closed")
        if self._start is None or self._start.done():
            self._start = asyncio.ensure_future(self._start_one())
            self._start.add_done_callback(_heard)
        start = self._start
        await asyncio.wait({start})
        if start.cancelled():
            raise Unavailable(Reason.STOPPING, "the sink was closed while it connected")
        error = start.exception()
        if isinstance(error, DeliveryError):
            raise type(error)(error.failure.reason, error.failure.detail)  # own traceback for each who waited
        return start.result()

    async def _start_one(self) -> Producer:
        settings = dict(self._settings)
        if self._tls is not None:
            settings["ssl_context"] = await asyncio.to_thread(self._tls)
        producer = Producer(**settings)
        try:
            await self._connect(producer, settings)
        except BaseException:
            producer.broken = True
            self._retire(producer)
            raise
        self._current = producer
        return producer

    async def _connect(self, producer: Producer, settings: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._seconds * _START_SHARE):
                try:
                    await producer.start()
                except KafkaConnectionError:
                    raise await _cause(settings) from None
        except (KafkaError, OSError) as error:
            raise explain_start(error, servers=self._servers, named=producer.brokers()) from error

    def _retire(self, producer: Producer) -> None:
        """Give it no more records, and close it behind everybody's back."""
        if self._current is producer:
            self._current = None
            if producer.broken:
                self._on_broken()
        if not producer.retired:
            producer.retired = True
            task = asyncio.ensure_future(producer.close())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


def _heard(start: asyncio.Task[Producer]) -> None:
    """Those who waited for it may all have given up: else asyncio would log its failure, with a traceback, as one that
    nobody has heard of."""
    if not start.cancelled():
        start.exception()


async def _cause(settings: Mapping[str, Any]) -> Exception:
    """Why no bootstrap server would have us: aiokafka logs that and forgets it, so they are asked again, one by one."""
    login = {name: settings[name] for name in _LOGIN if name in settings}
    found: list[Exception] = []
    for host, port, _ in collect_hosts(settings["bootstrap_servers"])[:_PROBES]:
        try:
            connection = await create_conn(host, port, request_timeout_ms=_PROBE_MS, **login)
        except (OSError, KafkaError) as error:
            beneath = error.__cause__
            found.append(beneath if isinstance(beneath, OSError) else error)
        else:
            connection.close()
            found.append(KafkaConnectionError("it hung up on the first request"))
    return next((error for error in found if refusal(error) is not None), found[-1])
