"""Reading a signed body without ever failing on it.

The bytes are what was signed and what is forwarded; the decoded payload serves routing, keys and templates only. So
decoding is total: whatever it gets, it answers with a payload or names a defect, and never raises.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, TypeAlias

import orjson

Json: TypeAlias = Any
Payload: TypeAlias = dict[str, Any]

MAX_DEPTH = 64
"""Nesting that is still read. Dyte's events nest three deep; past this, evaluators that recurse are at risk."""

MAX_IDENTIFIER = 256
"""Characters of an identifier that is still used as a key. Dyte's are UUIDs of 36."""


class Defect(StrEnum):
    """Why a signed body has no payload, or none that can be routed by its type."""

    NOT_JSON = "not_json"
    NOT_OBJECT = "not_object"
    TOO_DEEP = "too_deep"
    NO_TYPE = "no_type"

    @property
    def is_json(self) -> bool:
        """Whether the body is JSON all the same, only not such as an event is."""
        return self in (Defect.NOT_OBJECT, Defect.NO_TYPE)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A payload, or an empty one with the defect that explains it."""

    payload: Payload
    defect: Defect | None = None


def decode(body: bytes) -> Decoded:
    """Read a body as a JSON object of at most `MAX_DEPTH` levels, in strict UTF-8, for any bytes at all."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        value = _decode_leniently(body)
    if isinstance(value, Defect):
        return Decoded({}, value)
    if not isinstance(value, dict):
        return Decoded({}, Defect.NOT_OBJECT)
    if _deeper_than(value, body):
        return Decoded({}, Defect.TOO_DEEP)
    return Decoded(value)


def find(payload: Payload, *paths: str) -> str | None:
    """The first of the dotted paths that holds a usable identifier: 1 to `MAX_IDENTIFIER` printable characters."""
    for path in paths:
        value: Json = payload
        for key in _keys(path):
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, str) and 0 < len(value) <= MAX_IDENTIFIER and value.isprintable():
            return value
    return None


@cache
def _keys(path: str) -> tuple[str, ...]:
    """The steps of a path; of those that the code names, so there are few."""
    return tuple(path.split("."))


def _decode_leniently(body: bytes) -> Json | Defect:
    """Second try for what JavaScript writes and orjson refuses: half an emoji, as a lone surrogate escape.

    `JSON.stringify` keeps such a half, for instance in a display name that was cut. In the decoded payload it becomes
    U+FFFD, because no encoder downstream takes a lone surrogate; the bytes keep it.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        if _deeper_than(value, body):
            return Defect.TOO_DEEP
        return orjson.loads(
            json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        )
    except RecursionError:
        return Defect.TOO_DEEP
    except ValueError:  # not UTF-8, not JSON, NaN, or a number with thousands of digits
        return Defect.NOT_JSON


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _deeper_than(value: Json, body: bytes) -> bool:
    """Whether the nesting passes `MAX_DEPTH`. Counting brackets settles it for nearly every body without a walk."""
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        return False
    level: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(parent: dict[str, Json] | list[Json]) -> list[Json]:
    return list(parent.values()) if isinstance(parent, dict) else parent
