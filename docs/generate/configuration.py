"""The reference of relay.yaml, made of its JSON Schema: every key with type, default, meaning and examples."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from docs.generate.words import block, code, listed

Schema: TypeAlias = Mapping[str, Any]

FILE = Path(__file__).parents[2] / "config" / "relay.schema.json"

_UNITS = (
    (r"(ms|s|m|h|d)", "duration"),
    (r"(B|KiB|MiB|GiB)", "size"),
    (r"/(s|m|h|d)", "rate"),
)
"""How our own units are told: by the end of their pattern."""
_OF_UNITS = (["500ms", "10s", "5m", "2h", "7d"], ["64KiB", "1MiB"], ["1/s", "300/m"])
"""Examples that every key of a unit has: the page explains units once."""
_SECTIONS = {"RetryOptions": "retry", "ApiOptions": "api"}
"""Sections inside of sections, by their models."""
_KEYS = {name: f"[its keys](#{name}-keys)" for name in ("retention", "gateway", "admin", "sources", "routes")} | {
    "sinks": "[the keys of every sink](#lane-keys)"
}
"""Where the keys of a section of relay.yaml are told."""


@cache
def schema() -> Schema:
    """The schema as it is committed; a test of its own keeps that current."""
    document: Schema = json.loads(FILE.read_text("utf-8"))
    return document


@cache
def sinks() -> Sequence[str]:
    """The types of sinks, as relay.yaml names them."""
    return tuple(schema()["$defs"]["Sink"]["properties"]["type"]["enum"])


def section(name: str) -> str:
    """One section: `top`, `lane`, a sink's type, or a key of relay.yaml."""
    prefix, keys, common = _sections()[name]()
    intro = f"{common}\n\n" if common else ""
    return intro + "\n".join(_entry(prefix, key, about) for key, about in keys.items())


def names() -> Sequence[str]:
    """All sections that there are."""
    return tuple(_sections())


def lane() -> Mapping[str, Schema]:
    """The keys that every sink takes, as most of them describe them."""
    first, *others = (_of(sink) for sink in sinks())
    common = [key for key in first if key != "type" and all(key in each for each in others)]
    return {key: _usual([_of(sink)[key] for sink in sinks()]) for key in common}


Section: TypeAlias = tuple[str, Mapping[str, Schema], str]
"""What stands before each anchor, the keys, and what is said first."""


def _sections() -> Mapping[str, Callable[[], Section]]:
    definitions = {
        "retention": "RetentionOptions",
        "gateway": "GatewayOptions",
        "admin": "AdminOptions",
        "sources": "SourceOptions",
        "routes": "RouteOptions",
        "retry": "RetryOptions",
        "api": "ApiOptions",
    }
    made: dict[str, Callable[[], Section]] = {
        "top": lambda: ("", schema()["properties"], ""),
        "lane": lambda: ("lane.", lane(), _exceptions()),
    }
    for name, model in definitions.items():
        made[name] = partial(_whole, f"{name}.", model)
    for sink in sinks():
        made[sink] = partial(_own, sink)
    return made


def _whole(prefix: str, model: str) -> Section:
    return prefix, _definition(model), ""


def _own(sink: str) -> Section:
    """What only this sink takes, and what it says in other words than most."""
    common = lane()
    own = {key: about for key, about in _of(sink).items() if key != "type" and about != common.get(key)}
    return f"{sink}.", own, ""


def _definition(name: str) -> Mapping[str, Schema]:
    """The keys of a model, each with whether it has to be there."""
    model = schema()["$defs"][name]
    return {
        key: {**about, "required": True} if key in model.get("required", ()) else about
        for key, about in model["properties"].items()
    }


def _of(sink: str) -> Mapping[str, Schema]:
    return _definition(f"{sink.capitalize()}Options")


def _usual(told: Sequence[Schema]) -> Schema:
    return max(told, key=told.count)


def _exceptions() -> str:
    """Which sinks say a common key in other words, and where they do."""
    links = [
        f"[{sink}.{key}](#{sink}.{key})" for sink in sinks() for key, usual in lane().items() if _of(sink)[key] != usual
    ]
    return f"Told differently by {listed(links, 'and')}." if links else ""


def _entry(prefix: str, key: str, about: Schema) -> str:
    """One key with an anchor that a link can name: `#kafka.topic`."""
    keys = "" if prefix else _KEYS.get(key, "")
    facts = " · ".join(filter(None, (_type(about), _default(about), keys)))
    parts = [f"### {code(key)} {{ #{prefix}{key} }}", f"{facts}\n{{ .facts }}", about.get("description", "")]
    examples = about.get("examples", [])
    if examples and examples not in _OF_UNITS:
        parts.append(block("\n# or\n".join(_example(key, each) for each in examples), "yaml"))
    return "\n\n".join(filter(None, parts)) + "\n"


def _default(about: Schema) -> str:
    if about.get("required"):
        return "**required**"
    default = about.get("default")
    if default is None and "default" in about:
        return "optional"
    if default in (None, [], ""):
        return "empty by default"
    return "" if default == {} else f"default {code(_written(default))}"


def _written(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000).strip()
    return text.removesuffix("...").strip()


def _example(key: str, value: Any) -> str:
    return f"{key}: {_written(value)}"


def _type(about: Schema) -> str:
    """The type in words."""
    if (reference := about.get("$ref")) is not None:
        return _referred(str(reference).rsplit("/", 1)[1])
    if "anyOf" in about or "oneOf" in about:
        return _either(about.get("anyOf") or about["oneOf"])
    return listed(_choices(about)) or _plain_type(about)


def _referred(name: str) -> str:
    if name in _SECTIONS:
        return f"[a section of its own](#{_SECTIONS[name]}-keys)"
    definition = schema()["$defs"][name]
    return "a section" if "properties" in definition else _type(definition)


def _choices(about: Schema) -> list[str]:
    """The words of a closed set."""
    return [code(str(each)) for each in about.get("enum", [about["const"]] if "const" in about else [])]


def _either(members: Sequence[Schema]) -> str:
    units = [unit for member in members for unit in _unit(member)]
    if units:
        return units[0]
    names = [name for member in members if not _is_aside(member) for name in _choices(member) or [_type(member)]]
    return listed(list(dict.fromkeys(names)))


def _unit(member: Schema) -> Iterator[str]:
    pattern = str(member.get("pattern", ""))
    yield from (unit for mark, unit in _UNITS if mark in pattern)


def _is_aside(member: Schema) -> bool:
    """What a type lists beside what people write: variables, nothing at all."""
    return member.get("type") == "null" or str(member.get("$ref", "")).endswith("/Variable")


def _plain_type(about: Schema) -> str:
    match about.get("type"):
        case "array":
            return f"list of {_several(about['items'])}"
        case "object":
            return "sections by name" if "patternProperties" in about else "texts by name"
        case "integer" | "number" as kind:
            return _number("whole number" if kind == "integer" else "number", about)
        case "boolean":
            return "`true` or `false`"
        case _:
            return next(_unit(about), "a secret text" if about.get("writeOnly") else "text")


def _several(items: Schema) -> str:
    return f"{_type(items).removeprefix('a ')}s"


def _number(word: str, about: Schema) -> str:
    low, high = about.get("minimum"), about.get("maximum")
    if low is None:
        return word
    return f"{word}, {low:g} to {high:g}" if high is not None else f"{word}, {low:g} or more"
