"""What a configuration makes of one event: what each route says, and what each sink would be sent. Sends nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cache

from relay import dyte, sinks
from relay.assembly import route_table
from relay.config import Config
from relay.errors import DeliveryError
from relay.gateway.options import SourceOptions
from relay.model import Delivery, Event, Failure, Quarantine, value
from relay.payload import Json
from relay.ports import PreviewedSink
from relay.preview import Look, Preview
from relay.representation import Changes, Shape, changes, represent
from relay.routing import Decision, RouteOptions
from relay.sensitive import CONCEALED
from relay.simulator import ORGANIZATION, WEBHOOK_ID, Provider, example
from relay.simulator.sending import write

NO_ROUTE = "none"
"""Stands for the route where a sink is shown to which no route sends the event."""


@value
class Sending:
    """What one sink would be sent."""

    sink: str
    kind: str
    route: str | None
    """None: no route sends it there, and somebody wants to see it all the same."""
    enabled: bool
    changes: Changes
    made: Preview | Failure
    """What would be sent, or why nothing would be."""


@value
class Explanation:
    """All that a configuration makes of an event."""

    event: Event
    quarantine: Quarantine | None
    routes: Sequence[tuple[RouteOptions, Decision]]
    """What each route says, in the order of the file."""
    sendings: Sequence[Sending]
    """In the order in which routes name their sinks."""


class Explainer:
    """One configuration, at work on nothing. Its sinks are built, and never connected."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._table = route_table(config)
        self._sink = cache(self._built)

    def explain(self, event: Event, look: Look, *, only: str | None = None) -> Explanation:
        """What becomes of an event. With `only` one sink is shown, whether or not a route sends it there."""
        quarantine = self.config.sources[event.source].judge(event) if event.source in self.config.sources else None
        targets = {} if quarantine else {target.sink: target.route for target in self._table.match(event)}
        chosen: Mapping[str, str | None] = targets if only is None else {only: targets.get(only)}
        return Explanation(
            event=event,
            quarantine=quarantine,
            routes=list(zip(self.config.routes, self._table.explain(event), strict=True)),
            sendings=[self._sending(event, sink, route, look) for sink, route in chosen.items()],
        )

    def facts(self, event: Event) -> Mapping[str, Sequence[str]]:
        """What each sink tells of what it would send, by the names of it; the event may be any that can be read."""
        delivery = _delivery(event, sink="", route=NO_ROUTE)
        return {name: _fact_names(self._sink(name), delivery) for name in self.config.sinks}

    def _built(self, name: str) -> PreviewedSink:
        return sinks.build(name, self.config.sinks[name])

    def _sending(self, event: Event, sink: str, route: str | None, look: Look) -> Sending:
        options = self.config.sinks[sink]
        delivery, shape = _delivery(event, sink=sink, route=route or NO_ROUTE), Shape.of(options)
        return Sending(
            sink=sink,
            kind=options.type,
            route=route,
            enabled=options.enabled,
            changes=changes(delivery, shape),
            made=_made(self._sink(sink), delivery, shape, look),
        )


def _made(sink: PreviewedSink, delivery: Delivery, shape: Shape, look: Look) -> Preview | Failure:
    try:
        represented = represent(delivery, shape)
        true = sink.preview(represented, replace(look, content=True))
    except DeliveryError as error:
        return error.failure
    if look.content:
        return true
    try:
        return sink.preview(represented, look)
    except DeliveryError:  # a template that does with a link what cannot be done without it
        return Preview(facts=dict.fromkeys(true.facts, CONCEALED), headers={}, payload=CONCEALED)


def source_of(config: Config, provider: Provider | None) -> str:
    """The first source of this provider, or the first of all."""
    of_it = (name for name, options in config.sources.items() if options.provider == provider)
    return next(of_it, next(iter(config.sources)))


def event_of(
    body: bytes,
    *,
    event_id: str,
    source: str,
    options: SourceOptions,
    received_at: datetime,
    webhook_id: str | None = None,
) -> Event:
    """The event that the gateway would make of a body which the source's own webhook posted, or the one named."""
    registered = webhook_id or next(iter(options.webhook_ids), WEBHOOK_ID)
    signature = dyte.Signature(family="dyte", bytes=b"", uuid=None, webhook_id=registered)
    return dyte.parse(
        event_id=event_id, source=source, body=body, signature=signature, headers=(), received_at=received_at
    )


def example_body(name: str, *, provider: Provider, options: SourceOptions) -> bytes:
    """A bundled example, of an organisation that the source lets in.

    Raises:
        KeyError: there is no such example.
    """
    return write(_renamed(example(name, provider=provider), next(iter(options.organizations), ORGANIZATION)))


def _renamed(payload: Json, organization: str) -> Json:
    match payload:
        case dict():
            return {key: _renamed(inner, organization) for key, inner in payload.items()}
        case str():
            return payload.replace(ORGANIZATION, organization)
        case _:
            return payload


def _delivery(event: Event, *, sink: str, route: str) -> Delivery:
    """The first attempt."""
    return Delivery(id=0, event=event, route=route, sink=sink, attempt=1, tries=1, body=event.body)


def _fact_names(sink: PreviewedSink, delivery: Delivery) -> Sequence[str]:
    try:
        return list(sink.preview(delivery, Look()).facts)
    except DeliveryError:  # a template that wants another event
        return ()
