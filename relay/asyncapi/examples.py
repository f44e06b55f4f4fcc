"""What a sink would be sent of the bundled examples: chosen by the routes, changed by the sink's options. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import orjson

from relay import dyte
from relay.asyncapi.reach import Reach
from relay.config import Config
from relay.errors import Rejected
from relay.model import Delivery, Event, value
from relay.payload import Json
from relay.representation import Shape, represent
from relay.routing import RouteTable
from relay.simulator import EXAMPLES, START, Provider, example

EVENT_ID = "019e8cf9-0900-7abc-8def-0123456789ab"
"""Id of every example."""
_UNSIGNED = dyte.Signature(family="dyte", bytes=b"", uuid=None, webhook_id=None)


@value
class Example:
    """A payload that a sink would get."""

    name: str
    provider: Provider
    payload: Json


def examples(config: Config, sink: str, reach: Reach) -> Sequence[Example]:
    """The different ones; none where the routes take no bundled example, or `select` fails on it."""
    found: list[Example] = []
    for each in _examples(config, sink, reach):
        if all(each.payload != known.payload for known in found):
            found.append(each)
    return found


def _examples(config: Config, sink: str, reach: Reach) -> Iterator[Example]:
    table, options = RouteTable(config.routes, orders={}), config.sinks[sink]
    # With hashes of what everybody can read, the real key could be tried out.
    shape = replace(Shape.of(options), key=b"example")
    for source in reach.sources:
        provider = config.sources[source].provider
        for name in EXAMPLES:
            event = _event(name, source, provider)
            if event.type != reach.type or all(target.sink != sink for target in table.match(event)):
                continue
            try:
                body = represent(_delivery(event, sink), shape).body
            except Rejected:
                continue
            yield Example(name=name, provider=provider, payload=orjson.loads(body))


def _delivery(event: Event, sink: str) -> Delivery:
    return Delivery(id=1, event=event, route="example", sink=sink, attempt=1, tries=1, body=event.body)


def _event(name: str, source: str, provider: Provider) -> Event:
    return dyte.parse(
        event_id=EVENT_ID,
        source=source,
        body=orjson.dumps(example(name, provider=provider)),
        signature=_UNSIGNED,
        headers=(),
        received_at=START,
    )
