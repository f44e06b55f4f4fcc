"""Kafka sinks in the document: a channel for each topic. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from relay.asyncapi.messages import about_lane, attributes, content_type, message, replay, required_attributes, route
from relay.asyncapi.parts import Channel, Server
from relay.asyncapi.reach import Reach
from relay.config import Config
from relay.events.schema import Schema
from relay.sinks.kafka import KafkaOptions

_BINDING = {"bindingVersion": "0.5.0"}
_SCHEMES = {"PLAIN": "plain", "SCRAM-SHA-256": "scramSha256", "SCRAM-SHA-512": "scramSha512"}
_KEYS = {
    "meeting": "Id of the meeting; of a livestream without a meeting, the livestream's; else the event's.",
    "session": "Id of the session; without one, of the meeting or the livestream; else the event's.",
}


def kafka_servers(sink: str, options: KafkaOptions) -> Iterator[Server]:
    """The brokers to ask first."""
    login = f"{sink}.login" if options.sasl_mechanism else None
    certificate = f"{sink}.certificate" if options.ssl_certfile else None
    schemes: dict[str, Schema] = {}
    if login and options.sasl_mechanism:
        schemes[login] = {"type": _SCHEMES[options.sasl_mechanism], "description": f"SASL {options.sasl_mechanism}."}
    if certificate:
        schemes[certificate] = {"type": "X509", "description": "Mutual TLS."}
    addresses = list(dict.fromkeys(options.bootstrap_servers))  # a document may not name the same one twice
    for number, address in enumerate(addresses, start=1):
        yield Server(
            id=f"{sink}:{number}" if len(addresses) > 1 else sink,
            host=address,
            protocol="kafka-secure" if options.uses_tls else "kafka",
            description=f"A broker of the sink `{sink}` of relay.yaml.",
            schemes=schemes,
        )


def kafka_channels(config: Config, sink: str, options: KafkaOptions, reaches: Sequence[Reach]) -> Iterator[Channel]:
    """The topics: a template is a closed set of them."""
    servers = [server.id for server in kafka_servers(sink, options)]
    for topic, found in _by_topic(options, reaches).items():
        yield Channel(
            id=sink if topic == options.topic else f"{sink}:{topic}",
            address=topic,
            title=f"{topic} ({sink})",
            description=f"Topic of the sink `{sink}` of relay.yaml. {about_lane(options)}",
            servers=servers,
            messages={each.type: _message(config, sink, options, each) for each in found},
            bindings={"kafka": {"topic": topic, **_BINDING}},
            operation={"kafka": {"clientId": {"type": "string", "const": options.client_id}, **_BINDING}},
        )


def _by_topic(options: KafkaOptions, reaches: Sequence[Reach]) -> dict[str, list[Reach]]:
    found: dict[str, dict[str, Reach]] = {}
    for reach in reaches:
        for source, way in reach.ways.items():
            known = found.setdefault(options.topic_of(reach.type, source), {})
            before = known.get(reach.type, Reach(type=reach.type, ways={}))
            known[reach.type] = replace(before, ways={**before.ways, source: way})
    return {topic: list(by_type.values()) for topic, by_type in found.items()}


def _message(config: Config, sink: str, options: KafkaOptions, reach: Reach) -> Schema:
    headers = attributes("ce_", reach) | {
        "content-type": content_type(reach, options),
        "relay_route": route(reach),
        "relay_replay": replay(),
    }
    made = message(config, sink, reach, headers, [*required_attributes("ce_"), "content-type", "relay_route"])
    return made | {"bindings": {"kafka": {**_key(options), **_BINDING}}}


def _key(options: KafkaOptions) -> Schema:
    if options.key == "none":
        return {}
    made = f"What the JMESPath expression `{options.key}` makes of the event; without a result: {_KEYS['meeting']}"
    return {"key": {"type": "string", "description": _KEYS.get(str(options.key), made)}}
