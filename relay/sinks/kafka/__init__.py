"""Kafka, through aiokafka. The messages are CloudEvents 1.0 in binary mode.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md
"""

from __future__ import annotations

import logging
import re
import ssl
from typing import Annotated, Any, Literal, Protocol, TypeAlias

from aiokafka.errors import KafkaError
from aiokafka.helpers import create_ssl_context
from aiokafka.structs import RecordMetadata
from pydantic import BeforeValidator, Field, field_validator, model_validator

from relay.errors import DeliveryError, Misconfigured
from relay.model import Delivery, Reason
from relay.options import JmesPath, LaneOptions, Order, Secret, Size, Unfit
from relay.preview import Look, Preview, json_of
from relay.sensitive import concealed
from relay.sinks.kafka.connection import Connection
from relay.sinks.kafka.errors import explain
from relay.sinks.kafka.message import Record, checked_topic, placeholders, record_of, topic_of
from relay.sinks.kafka.producer import TooLargeTogether

_SERVER = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})", re.ASCII)
_DEADLINE_SHARE = 0.9
"""Of the lane's time-out; ours comes first, because it can say what it waited for."""
_MAX_REQUEST_TIMEOUT = 10.0
_MAX_BATCH = 512 * 1024
_BY_KEY = "murmur2 of the partition key chooses the partition, as in Kafka's own clients"
_RANDOM = "without a key, the partition is chosen at random"


def _split(servers: object) -> object:
    return tuple(server.strip() for server in servers.split(",")) if isinstance(servers, str) else servers


_List: TypeAlias = Annotated[tuple[str, ...], Field(min_length=1)]
Servers: TypeAlias = Annotated[_List, BeforeValidator(_split, json_schema_input_type=_List | str)]


class KafkaOptions(LaneOptions):
    """A Kafka topic, or a topic for each event type. Connection options have Kafka's own names.

    Messages are written with `acks=all` and idempotence, which is not for choice.
    """

    type: Literal["kafka"]
    bootstrap_servers: Servers
    """Brokers to ask first: a list of `host:port`, or Kafka's own form, one text with commas."""
    topic: str
    """Topic name, or a template over closed values: `{type}` (an unknown event type becomes `other`) and `{source}`."""
    key: Literal["meeting", "session", "none"] | JmesPath = "meeting"
    """Message key, and so the partition: the meeting id, the session id, a JMESPath expression over the payload, or
    `none` for a random partition. What an event lacks is replaced: session by meeting, meeting by livestream, that by
    the event's id."""
    order: Order = Order.MEETING
    """`meeting`: events of one meeting arrive one after the other; `none`: faster while an event is being retried."""
    concurrency: int = Field(default=256, ge=1, le=1000)
    """How many messages wait for their acknowledgement at the same time; together they travel in batches."""
    compression_type: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    """How batches are compressed."""
    linger_ms: int = Field(default=0, ge=0, le=1000)
    """Milliseconds to wait for more messages before a batch is sent. Under load batches fill by themselves."""
    max_request_size: Size = Field(default=2 * 1024 * 1024, ge=1024)
    """Largest message that is sent; above it the event is a dead letter. The topic's own limit, `max.message.bytes`, is
    1 MiB unless it was raised."""
    client_id: str = Field(default="dyte-relay", min_length=1)
    """Name of this client in the broker's logs and quotas."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Whether the connection uses TLS (SSL) and a login (SASL)."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in."""
    sasl_plain_username: str | None = None
    """User name, for each of the mechanisms."""
    sasl_plain_password: Secret | None = None
    """Password, for each of the mechanisms."""
    ssl_cafile: str | None = None
    """Certificates to trust, a PEM file; without it the system's."""
    ssl_certfile: str | None = None
    """Our certificate for mutual TLS, a PEM file."""
    ssl_keyfile: str | None = None
    """The certificate's private key, a PEM file; without it, the key is in `ssl_certfile`."""
    ssl_password: Secret | None = None
    """Password of the private key, if it has one."""
    ssl_check_hostname: bool = True
    """`false` accepts a certificate that was issued for another host name."""

    @field_validator("bootstrap_servers")
    @classmethod
    def _are_addresses(cls, servers: tuple[str, ...]) -> tuple[str, ...]:
        for server in servers:
            match = _SERVER.fullmatch(server)
            if match is None or not 0 < int(match[2]) < 65536:
                raise Unfit("is not an address; write a list of host:port, like [kafka-1:9092]", shown=repr(server))
        return servers

    @field_validator("topic")
    @classmethod
    def _is_topic(cls, topic: str) -> str:
        return checked_topic(topic)

    @model_validator(mode="after")
    def _fits_together(self) -> KafkaOptions:
        problems = [*self._login_problems(), *self._tls_problems()]
        if problems:
            raise Unfit("; ".join(problems))
        return self

    def topic_of(self, event_type: str, source: str) -> str:
        """Where an event goes: of unknown types there are any number, and they share one topic."""
        return topic_of(self.topic, event_type=event_type, source=source)

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")

    def _login_problems(self) -> list[str]:
        names = ("sasl_mechanism", "sasl_plain_username", "sasl_plain_password")
        given = [name for name in names if getattr(self, name) is not None]
        missing = [name for name in names if name not in given]
        if self.security_protocol.startswith("SASL"):
            return [f"security_protocol {self.security_protocol} also needs {', '.join(missing)}"] if missing else []
        hint = "SASL_SSL" if self.uses_tls else "SASL_PLAINTEXT or SASL_SSL"
        return [f"{given[0]} has no effect; set security_protocol to {hint}, or remove it"] if given else []

    def _tls_problems(self) -> list[str]:
        given = [name for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_password") if getattr(self, name)]
        if given and not self.uses_tls:
            hint = "SASL_SSL" if self.security_protocol.startswith("SASL") else "SSL"
            return [f"{given[0]} has no effect; set security_protocol to {hint}, or remove it"]
        if self.ssl_certfile is None and (self.ssl_keyfile or self.ssl_password):
            return ["ssl_keyfile and ssl_password belong to a certificate: set ssl_certfile as well, or remove them"]
        return []


class Observer(Protocol):
    """Who wants to know how the connection fares."""

    def producer_broke(self, sink: str) -> None:
        """A producer is given up; what it had under way is sent again, and may be there twice."""


class KafkaSink:
    """Writes each delivery as one message. Connects with the first one."""

    def __init__(self, name: str, options: KafkaOptions, observer: Observer | None = None) -> None:
        self._name = name
        self._options = options
        self._templated = bool(placeholders(options.topic))
        self._connection = Connection(
            _settings(options),
            tls=(lambda: _tls(options)) if options.uses_tls else None,
            seconds=_seconds(options),
            on_broken=lambda: None if observer is None else observer.producer_broke(name),
        )
        _quiet_client()

    async def deliver(self, delivery: Delivery) -> str:
        """Write one message; the receipt is `topic/partition/offset`.

        A time-out is ambiguous: the message may be written all the same, and once more by the next attempt.
        """
        record = self._record(delivery)
        try:
            return _receipt(await self._write(record))
        except (KafkaError, TimeoutError, DeliveryError) as error:
            raise explain(error, topic=record.topic, partly=self._templated) from error

    def preview(self, delivery: Delivery, look: Look) -> Preview:
        """See `Previewed.preview`. Which partition it is, only a broker can tell: it knows how many there are."""
        record = self._record(look.of(delivery))
        key = None if record.key is None else record.key.decode()
        shown = key if look.content else concealed(key)
        return Preview(
            facts={"topic": record.topic, "key": shown, "partition_key": shown},
            headers={name: text.decode() for name, text in record.headers},
            payload=json_of(record.body),
            body=record.body,
            notes=(_RANDOM if key is None else _BY_KEY,),
        )

    async def close(self) -> None:
        """Let sends under way finish for a moment, then drop the connection. Takes five seconds at most."""
        await self._connection.close()

    async def _write(self, record: Record) -> RecordMetadata:
        try:
            return await self._connection.send(record)
        except TooLargeTogether:
            return await self._connection.send(record, alone=True)

    def _record(self, delivery: Delivery) -> Record:
        return record_of(delivery, topic=self._options.topic, key=self._options.key)


def _receipt(metadata: RecordMetadata) -> str:
    """Where the message is. Of a re-sent batch that the broker knows already, it may have forgotten the offset."""
    offset = "?" if metadata.log_start_offset == -1 else metadata.offset
    return f"{metadata.topic}/{metadata.partition}/{offset}"


def _seconds(options: KafkaOptions) -> float:
    return options.timeout.total_seconds() * _DEADLINE_SHARE


def _settings(options: KafkaOptions) -> dict[str, Any]:
    """What aiokafka's producer is given."""
    settings: dict[str, Any] = {
        "bootstrap_servers": list(options.bootstrap_servers),
        "client_id": options.client_id,
        "compression_type": None if options.compression_type == "none" else options.compression_type,
        "linger_ms": options.linger_ms,
        "max_request_size": options.max_request_size,
        # Senders wait in line for a place in a partition's batch, and all wake up for each place (aiokafka #528): so
        # it takes many small messages, and stays well below what a topic accepts by default (1 MiB).
        "max_batch_size": min(_MAX_BATCH, options.max_request_size),
        "request_timeout_ms": round(min(_MAX_REQUEST_TIMEOUT, _seconds(options)) * 1000),
        "security_protocol": options.security_protocol,
    }
    if options.sasl_mechanism is not None and options.sasl_plain_password is not None:
        settings["sasl_mechanism"] = options.sasl_mechanism
        settings["sasl_plain_username"] = options.sasl_plain_username
        settings["sasl_plain_password"] = options.sasl_plain_password.get_secret_value()
    return settings


def _tls(options: KafkaOptions) -> ssl.SSLContext:
    """Reads the files, so it runs at the first connection and again at each later one: renewed files are picked up."""
    password = "" if options.ssl_password is None else options.ssl_password.get_secret_value()
    try:
        context: ssl.SSLContext = create_ssl_context(
            cafile=options.ssl_cafile,
            certfile=options.ssl_certfile,
            keyfile=options.ssl_keyfile,
            password=password,  # never None: OpenSSL would ask for it on the terminal
        )
    except OSError as error:
        names = ", ".join(name for name in (options.ssl_cafile, options.ssl_certfile, options.ssl_keyfile) if name)
        hint = "check ssl_cafile, ssl_certfile, ssl_keyfile and ssl_password"
        raise Misconfigured(Reason.TLS, f"cannot use {names} ({error.strerror or error}): {hint}") from error
    context.check_hostname = options.ssl_check_hostname
    return context


def _quiet_client() -> None:
    """aiokafka logs every one of its retries, ten a second. What matters comes back as an error; a level that somebody
    set stays."""
    logger = logging.getLogger("aiokafka")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)
