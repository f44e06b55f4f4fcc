"""Each sample, of every generation of the sender's shapes, reads as `tests/samples/expected.toml` says."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from relay.events import CATALOGUE, parse_event
from relay.events.reading import Part

SAMPLES = Path(__file__).parent.parent / "samples"
FILES = sorted(path.relative_to(SAMPLES).as_posix().removesuffix(".json") for path in SAMPLES.rglob("*.json"))
EXPECTED: dict[str, dict[str, object]] = tomllib.loads((SAMPLES / "expected.toml").read_text("utf-8"))


def read(path: str) -> bytes:
    return (SAMPLES / f"{path}.json").read_bytes()


def look(part: object, path: str) -> object:
    for name in path.split("."):
        part = getattr(part, name)
    return part


def extras(part: Part) -> list[str]:
    """Names of the unknown fields of a part and of those inside it."""
    parts = [inner for name in type(part).model_fields if isinstance(inner := getattr(part, name), Part)]
    return [*(part.model_extra or {}), *(name for inner in parts for name in extras(inner))]


def freeze(value: Any) -> Any:
    """The same JSON with objects that are mappings but no dicts."""
    return MappingProxyType({k: freeze(v) for k, v in value.items()}) if isinstance(value, dict) else value


def test_every_sample_has_an_expectation() -> None:
    assert set(FILES) == set(EXPECTED)
    assert {parse_event(read(path)).event for path in FILES} == set(CATALOGUE)


@pytest.mark.parametrize("path", FILES)
def test_sample_reads_as_expected(path: str) -> None:
    fields = dict(EXPECTED[path])
    event = parse_event(read(path))
    assert type(event).__name__ == fields.pop("model")
    nothing = fields.pop("none", [])
    assert isinstance(nothing, list)
    fields |= dict.fromkeys(nothing)
    assert {name: look(event, name) for name in fields} == fields


@pytest.mark.parametrize("path", FILES)
def test_sample_leaves_nothing_unread(path: str) -> None:
    event = parse_event(read(path))
    assert event.unreadable == {}
    assert extras(event) == []


@pytest.mark.parametrize("path", FILES)
def test_sample_reads_alike_from_bytes_text_and_mapping(path: str) -> None:
    body = read(path)
    mapping = MappingProxyType({key: freeze(value) for key, value in json.loads(body).items()})
    assert parse_event(body) == parse_event(body.decode()) == parse_event(mapping)


@pytest.mark.parametrize("path", FILES)
def test_dump_reads_again(path: str) -> None:
    event = parse_event(read(path))
    assert parse_event(event.model_dump_json()) == event
