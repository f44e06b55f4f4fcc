"""JSON Schema of the catalogue's events, made of the models: their docstrings are its descriptions.

The schema says what may be sent, not what the models make of it: names as the sender writes them, times as texts. It is
as open as the models are: everything but the event's name may be missing, and fields may be added.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

from pydantic import AliasChoices
from pydantic.json_schema import models_json_schema

from relay.events import CATALOGUE, UnknownEvent
from relay.events.catalogue import BaseEvent
from relay.events.parts import MeetingInfo, OrganizationInfo, ParticipantInfo, RecordingInfo
from relay.events.reading import Part
from relay.model import value

Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MODELS: Sequence[type[BaseEvent]] = (*CATALOGUE.values(), UnknownEvent)
_PARTS: Sequence[type[Part]] = (MeetingInfo, OrganizationInfo, ParticipantInfo, RecordingInfo)
_FIRST = ("title", "description", "type", "const", "enum", "anyOf", "examples", "required", "properties")
_QUOTED = re.compile(r"`([a-z_]+)`")


@value
class Field:
    """A field of an event."""

    path: str
    """Dotted, as the sender writes it."""
    types: Sequence[str]
    """JSON's names; `null` is left out, because every field may be null."""
    description: str
    words: Sequence[str] = ()
    """The documented values, where there are such; others may come."""
    deprecated: bool = False


def model_of(event_type: str) -> type[BaseEvent]:
    """The model of an event type; that of unknown events where it has none of its own."""
    return CATALOGUE.get(event_type, UnknownEvent)


def fires(event_type: str) -> str:
    """When a known event is sent: `when the first participant joins a meeting`."""
    first = _one_line(model_of(event_type).__doc__ or "").split(". ")[0]
    return first.removeprefix("Fires ").rstrip(".")


def definitions(names: Collection[str], *, prefix: str = "#/$defs/") -> Mapping[str, Schema]:
    """The schemas of these models, and of all the parts that they refer to, by name; `prefix` is that of references."""
    every = _definitions(prefix)
    return {name: copy.deepcopy(every[name]) for name in every if name in _used(every, names)}


def schema(event_type: str | None = None) -> Schema:
    """A schema that stands by itself: of one event type, or of any known one."""
    if event_type is None:
        names = [model.__name__ for model in CATALOGUE.values()]
        head: Schema = {"title": "Event", "anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}
        used = dict(definitions(names))
    else:
        name = model_of(event_type).__name__
        used = dict(definitions([name]))
        head = used.pop(name)
    return {"$schema": DIALECT, **head} | ({"$defs": used} if used else {})


def whole(event_type: str) -> Schema:
    """The schema of an event type with nothing to look up, so that parts of it can be changed."""
    every = _definitions("#/$defs/")
    return {key: _filled(inner, every) for key, inner in every[model_of(event_type).__name__].items()}


def fields(event_type: str) -> Sequence[Field]:
    """The fields of an event type, parts before what is in them."""
    return list(_fields(whole(event_type), ""))


def alternatives(node: Schema) -> Sequence[Schema]:
    """What a value may be."""
    found: Sequence[Schema] = node.get("anyOf", [node])
    return found


def references(node: Any) -> Iterator[str]:
    """The names of the definitions that a schema, or a document of schemas, refers to."""
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"].rpartition("/")[2]
        node = list(node.values())
    for inner in node if isinstance(node, list) else ():
        yield from references(inner)


def _fields(node: Schema, prefix: str) -> Iterator[Field]:
    for name, field in node["properties"].items():
        yield Field(
            path=prefix + name,
            types=_types(field),
            description=field["description"],
            words=[word for each in alternatives(field) for word in each.get("enum", ())],
            deprecated=field.get("deprecated", False),
        )
        for inner in alternatives(field):
            if "properties" in inner:
                yield from _fields(inner, f"{prefix}{name}.")


def _types(field: Schema) -> Sequence[str]:
    given = dict.fromkeys(each for node in alternatives(field) for each in _listed(node.get("type", ())))
    return [each for each in given if each != "null" and not (each == "integer" and "number" in given)]


def _listed(types: str | Sequence[str]) -> Sequence[str]:
    return [types] if isinstance(types, str) else types


# What pydantic writes, made shorter and put into the sender's names


@cache
def _definitions(prefix: str) -> Mapping[str, Schema]:
    _, made = models_json_schema([(model, "validation") for model in _MODELS], ref_template=prefix + "{model}")
    found = {name: _tidy(each) for name, each in made["$defs"].items()}
    for model in (*_MODELS, *_PARTS):
        _add_older_names(model, found[model.__name__])
    return found


def _tidy(node: Schema) -> Schema:
    """Without defaults of null, and with what a reader wants first in the first place."""
    tidied = _in_order({key: inner for key, inner in node.items() if not (key == "default" and inner is None)})
    if "description" in tidied:
        tidied["description"] = _as_sent(_one_line(tidied["description"]))
    if "properties" in tidied:
        tidied["properties"] = {name: _tidy(field) for name, field in tidied["properties"].items()}
    if "anyOf" in tidied:
        tidied["anyOf"] = [_tidy(each) for each in tidied["anyOf"]]
        return _merged(tidied)
    return tidied


def _merged(node: Schema) -> Schema:
    """`type: [string, null]` for alternatives that say no more than a type."""
    simple = [each["type"] for each in node["anyOf"] if each.keys() == {"type"}]
    others = [each for each in node["anyOf"] if each.keys() != {"type"}]
    types: Any = simple[0] if len(simple) == 1 else simple
    merged = {"anyOf": [*others, {"type": types}]} if others else {"type": types}
    return _in_order({key: inner for key, inner in node.items() if key != "anyOf"} | merged)


def _in_order(node: Schema) -> Schema:
    return {key: node[key] for key in (*_FIRST, *node) if key in node}


def _add_older_names(model: type[Part], made: Schema) -> None:
    """Spellings of the past, which the models read too."""
    older = {
        str(name): str(field.validation_alias.choices[0])
        for field in model.model_fields.values()
        if isinstance(field.validation_alias, AliasChoices)
        for name in field.validation_alias.choices[1:]
    }
    described: Schema = {}
    for name, field in made["properties"].items():
        described[name] = field
        for old in [old for old, newest in older.items() if newest == name]:
            described[old] = field | {"description": f"Older spelling of `{name}`.", "deprecated": True}
    made["properties"] = described


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _as_sent(description: str) -> str:
    """Fields that a docstring names, by the names that the sender gives them."""
    return _QUOTED.sub(lambda match: f"`{_SENT_NAMES.get(match[1], match[1])}`", description)


_SENT_NAMES = {
    name: field.serialization_alias or name
    for model in (*_MODELS, *_PARTS)
    for name, field in model.model_fields.items()
}


# References


def _used(every: Mapping[str, Schema], names: Collection[str]) -> set[str]:
    """These definitions, and all that they refer to."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += references(every[name])
    return found


def _filled(node: Any, every: Mapping[str, Schema]) -> Any:
    match node:
        case {"$ref": str(ref)}:
            return _filled(copy.deepcopy(every[ref.rpartition("/")[2]]), every)
        case dict():
            return {key: _filled(inner, every) for key, inner in node.items()}
        case list():
            return [_filled(inner, every) for inner in node]
        case _:
            return node
