"""What Kafka messages and HTTP requests have in common: an event, its attributes, and what it holds. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from relay.asyncapi.examples import EVENT_ID, examples
from relay.asyncapi.payloads import payload_schema
from relay.asyncapi.reach import Reach
from relay.cloudevents import BINARY, JSON
from relay.config import Config
from relay.events.schema import Schema, fires
from relay.model import UNREADABLE
from relay.options import LaneOptions, Order
from relay.representation import Shape
from relay.vocabulary import OTHER

_NOT_NAMED = "Absent where the event names no meeting."
_SUMMARIES = {
    OTHER: "An event of a type that nobody knows yet.",
    UNREADABLE: "A signed body that is no event: no JSON object, nested too deep, or without a type.",
}


def message(config: Config, sink: str, reach: Reach, headers: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    """The message of one event type."""
    options = config.sinks[sink]
    shown = [
        {"name": f"{each.name} of {each.provider}", "payload": each.payload} for each in examples(config, sink, reach)
    ]
    return {
        "name": reach.type,
        "title": reach.type,
        "summary": _SUMMARIES.get(reach.type) or f"Sent {fires(reach.type)}.",
        "description": _by_routes(reach),
        "contentType": _content_types(reach, options)[0],
        "headers": {"type": "object", "required": list(required), "properties": dict(headers)},
        "payload": payload_schema(reach.type, options),
    } | ({"examples": shown} if shown else {})


def attributes(prefix: str, reach: Reach) -> dict[str, Schema]:
    """The CloudEvents attributes, as headers."""
    return {
        f"{prefix}id": {
            "description": "Id of the event: the same on every attempt and replay, so drop what was seen before.",
            "type": "string",
            "examples": [EVENT_ID],
        },
        f"{prefix}source": {"description": "Source of the event in relay.yaml.", **_one_of(reach.sources)},
        f"{prefix}type": {"description": "Type of the event.", **_types(reach)},
        f"{prefix}time": {
            "description": "When the relay accepted the event.",
            "type": "string",
            "format": "date-time",
            "examples": ["2026-06-03T10:00:00.000Z"],
        },
        f"{prefix}specversion": {"description": "Version of CloudEvents.", "type": "string", "const": "1.0"},
        f"{prefix}subject": {"description": f"Id of the meeting. {_NOT_NAMED}", "type": "string"},
    }


def required_attributes(prefix: str) -> list[str]:
    """Those that are always there."""
    return [f"{prefix}{name}" for name in ("id", "source", "type", "time", "specversion")]


def content_type(reach: Reach, options: LaneOptions) -> Schema:
    """The header `content-type`."""
    return _one_of(_content_types(reach, options))


def route(reach: Reach) -> Schema:
    """The header that names the route."""
    names = [each.name for each in reach.routes]
    return {"description": "The first route of relay.yaml that names this sink for the event.", **_one_of(names)}


def replay() -> Schema:
    """The header that marks a replay."""
    about = "How often the event was replayed; only on replays."
    return {"description": about, "type": "string", "pattern": "^[1-9][0-9]*$"}


def about_lane(options: LaneOptions) -> str:
    """How events come here."""
    order = (
        "Events of one meeting come one after the other, in the order of their acceptance."
        if options.order is Order.MEETING
        else "Events come in any order."
    )
    disabled = "" if options.enabled else " The sink is disabled in relay.yaml: its events wait."
    return f"{order} Each comes at least once.{disabled}"


def _by_routes(reach: Reach) -> str:
    told = []
    for each in reach.routes:
        condition = "" if each.where is None else f" where `{each.where}`"
        told.append(f"`{each.name}`{condition}")
    which = "Every event of this type comes" if reach.sure else "Events of this type may come"
    return f"{which}, by route {' or '.join(told)}, from source {' or '.join(f'`{name}`' for name in reach.sources)}."


def _content_types(reach: Reach, options: LaneOptions) -> Sequence[str]:
    """What cannot be read is JSON all the same where it was changed: of what is none, nothing could be removed."""
    return [BINARY, JSON] if reach.type == UNREADABLE and Shape.of(options).changes_nothing else [JSON]


def _types(reach: Reach) -> Schema:
    if reach.type == OTHER:
        return {"type": "string", "pattern": "^[A-Za-z0-9._:-]{1,128}$"}
    return _one_of([reach.type])


def _one_of(values: Sequence[str]) -> Schema:
    return {"type": "string", "const": values[0]} if len(values) == 1 else {"type": "string", "enum": list(values)}
