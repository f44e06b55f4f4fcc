"""The AsyncAPI document of a configuration: what its Kafka topics and HTTP services are sent. Pure.

https://www.asyncapi.com/docs/reference/specification/v3.0.0
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from relay import __version__
from relay.asyncapi.http import http_channel, http_server
from relay.asyncapi.kafka import kafka_channels, kafka_servers
from relay.asyncapi.parts import Channel, Server, ref
from relay.asyncapi.payloads import SCHEMAS
from relay.asyncapi.reach import reaching
from relay.config import Config
from relay.events.schema import Schema, definitions, references
from relay.sinks.http import HttpOptions
from relay.sinks.kafka import KafkaOptions

_ABOUT = (
    "Events of Dyte and Cloudflare RealtimeKit meetings, as dyte-relay passes them on by its relay.yaml. Each event "
    "comes at least once: drop repeats by its id. Payloads are the bytes that the sender signed, unless a message says "
    "otherwise. The schemas are open: nearly every field may be missing or null, and the sender adds fields and events."
)


def document(config: Config, *, paths: bool = False) -> Schema:
    """What the configuration sends to Kafka and HTTP sinks; `paths`: with the paths of HTTP sinks."""
    servers, channels = list(_servers(config)), list(_channels(config, paths=paths))
    payloads = [message["payload"] for channel in channels for message in channel.messages.values()]
    schemes: Schema = {}
    for each in (*(server.schemes for server in servers), *(channel.schemes for channel in channels)):
        schemes |= each
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "dyte-relay", "version": __version__, "description": _ABOUT},
        "defaultContentType": "application/json",
        "servers": {server.id: _server(server) for server in servers},
        "channels": {channel.id: _channel(channel) for channel in channels},
        "operations": {f"send.{channel.id}": _operation(channel) for channel in channels},
        "components": {
            "schemas": definitions(set(references(payloads)), prefix=SCHEMAS),
            "securitySchemes": schemes,
        },
    }


def _servers(config: Config) -> Iterator[Server]:
    for name, options in config.sinks.items():
        if isinstance(options, KafkaOptions):
            yield from kafka_servers(name, options)
        elif isinstance(options, HttpOptions):
            yield http_server(name, options)


def _channels(config: Config, *, paths: bool) -> Iterator[Channel]:
    """Of sinks that something may come to."""
    for name, options in config.sinks.items():
        reaches = reaching(config, name)
        if isinstance(options, KafkaOptions):
            yield from kafka_channels(config, name, options, reaches)
        elif isinstance(options, HttpOptions) and reaches:
            yield http_channel(config, name, options, reaches, paths=paths)


def _server(server: Server) -> Schema:
    made: Schema = {"host": server.host, "protocol": server.protocol, "description": server.description}
    return made | _security(list(server.schemes))


def _channel(channel: Channel) -> Schema:
    made: Schema = {
        "address": channel.address,
        "title": channel.title,
        "description": channel.description,
        "servers": [ref("servers", name) for name in channel.servers],
        "messages": channel.messages,
    }
    return made | ({"bindings": channel.bindings} if channel.bindings else {})


def _operation(channel: Channel) -> Schema:
    made: Schema = {
        "action": "send",
        "channel": ref("channels", channel.id),
        "messages": [ref("channels", channel.id, "messages", name) for name in channel.messages],
        "bindings": channel.operation,
    }
    return made | _security(list(channel.schemes))


def _security(names: Sequence[str]) -> Schema:
    return {"security": [ref("components", "securitySchemes", name) for name in names]} if names else {}
