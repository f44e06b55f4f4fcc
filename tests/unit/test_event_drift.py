"""What of an event the catalogue does not know: the same that its models cannot read, found without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.events import CATALOGUE, parse_event
from relay.events.drift import MOST, Kind, differences
from relay.events.reading import Part
from relay.events.schema import fields
from relay.simulator import EXAMPLES, example

SAMPLES = sorted((Path(__file__).parents[1] / "samples").rglob("*.json"))


def found(payload: dict[str, Any]) -> set[tuple[str, str]]:
    return {(str(each.kind), each.path) for each in differences(payload)}


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_nothing_that_was_ever_documented_is_drift(file: Path) -> None:
    assert differences(orjson.loads(file.read_bytes())) == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_nothing_that_the_simulator_sends_is_drift(name: str) -> None:
    assert differences(example(name)) == differences(example(name, provider="realtimekit")) == []


def test_each_kind_is_told_with_its_place() -> None:
    event = example("recording.statusUpdate")
    event["meeting"]["organizedBy"]["plan"] = {"anything": ["at", "all"]}
    event["recording"] |= {"status": "FROZEN", "fileSize": "large", "startedTime": 12, "stopReason": {"reason": "x"}}
    assert found(event) == {
        ("unknown_field", "meeting.organizedBy.plan"),
        ("unknown_value", "recording.status"),
        ("unreadable_field", "recording.fileSize"),
        ("unreadable_field", "recording.startedTime"),
    }
    assert found({"event": "meeting.exploded", "force": 9}) == {("unknown_event", "event")}
    assert found({"event": 7}) == found({}) == {("unknown_event", "event")}


@pytest.mark.parametrize(
    ("status", "word"), [("FROZEN", "FROZEN"), ("F" * 65, None), ("Ann Smith", None), ("frozen", None), (7, None)]
)
def test_an_unknown_value_is_repeated_only_where_it_looks_like_a_word(status: object, word: str | None) -> None:
    [difference] = differences({"event": "livestreaming.statusUpdate", "status": status})
    assert (difference.kind, difference.word) == (Kind.UNKNOWN_VALUE, word)


@pytest.mark.parametrize("name", ["\x1b[31m", "a\nb", "\u202egnp", "x" * 1000, "\x00" * 1000, "[bold]" * 20])
def test_a_hostile_name_is_told_short_and_printable(name: str) -> None:
    [difference] = differences({"event": "meeting.started", "meeting": {name: 1}})
    assert difference.kind is Kind.UNKNOWN_FIELD
    assert difference.path.startswith("meeting.")
    assert difference.path.isprintable()
    assert len(difference.path) <= len("meeting.") + 64


def test_no_more_is_told_of_one_event_than_of_any_honest_one() -> None:
    keys = {f"key-{number}": number for number in range(10_000)}
    assert len(differences({"event": "meeting.started", **keys, "meeting": keys})) == MOST
    assert len(differences({"event": "meeting.started", "meeting": keys, **keys})) == MOST


class Endless(dict[str, Any]):
    """An object that takes for ever to print."""

    def __repr__(self) -> str:
        raise AssertionError("it was printed")


class EndlessText(str):
    """The same as a text."""

    __slots__ = ()

    def __repr__(self) -> str:
        raise AssertionError("it was printed")


def test_nothing_large_is_read_where_the_error_would_repeat_it() -> None:
    for field in ("status", "fileSize", "startedTime", "downloadUrl"):
        assert found({"event": "recording.statusUpdate", "recording": {field: Endless()}}) == {
            ("unreadable_field", f"recording.{field}")
        }
    assert found({"event": "recording.statusUpdate", "recording": {"stopReason": {"reason": Endless()}}}) == set()
    late = EndlessText("2026-06-03T10:00:00Z" * 100)
    assert found({"event": "meeting.started", "meeting": {"startedAt": late}}) == {
        ("unreadable_field", "meeting.startedAt")
    }


@pytest.mark.parametrize(("field", "text"), [("fileSize", "2" * 1000), ("startedTime", "2026-06-03T10:00:00Z" * 100)])
def test_a_long_text_is_no_time_and_no_number(field: str, text: str) -> None:
    payload = {"event": "recording.statusUpdate", "recording": {field: text}}
    assert found(payload) == {("unreadable_field", f"recording.{field}")}
    assert parse_event(payload).unreadable == {f"recording.{field}": text}


def test_an_organization_may_be_a_text_of_any_length() -> None:
    assert found({"event": "meeting.started", "meeting": {"organizedBy": "Acme" * 1000}}) == set()
    assert found({"event": "meeting.started", "meeting": "Acme" * 1000}) == {("unreadable_field", "meeting")}


def test_what_is_sent_in_the_place_of_a_part_is_not_looked_into() -> None:
    assert found({"event": "meeting.started", "meeting": [{"id": 1}] * 1000}) == {("unreadable_field", "meeting")}
    assert found({"event": "meeting.started", "meeting": {"title": {"a": 1}}}) == {
        ("unreadable_field", "meeting.title")
    }
    assert found({"event": "meeting.started", "meeting": {"organizedBy": "Acme"}}) == set()


# The models are the judge.

KEYS = sorted(
    {key for name in CATALOGUE for field in fields(name) for key in field.path.split(".")}
    - {"event", "filesize"}
    - {"transcriptDownloadExpiry"}
)
TEXTS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="."), min_size=1, max_size=5)
LOOKALIKES = st.sampled_from(
    ["12", "1e999", "-0", "2023-04-14 04:46:08.306221Z", "2026-06-03T10:00:00Z", "LIVE", "true", "", 0, 1, True, 2.5]
)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS | LOOKALIKES
LISTS = st.lists(SCALARS, max_size=2)
PARTS = st.recursive(
    SCALARS | LISTS, lambda inner: st.dictionaries(st.sampled_from(KEYS) | TEXTS, inner, max_size=5), max_leaves=12
)


def read(part: Part, prefix: str = "") -> Iterator[tuple[str, str]]:
    """What the models say: what they kept as unknown, and what they set aside."""
    for key in part.model_extra or {}:
        yield "unknown_field", prefix + key
    for key in part._unreadable:
        yield "unreadable_field", prefix + key
    for name, field in type(part).model_fields.items():
        inner = getattr(part, name)
        if isinstance(inner, Part):
            yield from read(inner, f"{prefix}{field.serialization_alias}.")


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(CATALOGUE)),
    body=st.dictionaries(st.sampled_from(KEYS) | TEXTS, PARTS, max_size=6),
)
def test_it_agrees_with_the_models(name: str, body: dict[str, Any]) -> None:
    payload = body | {"event": name}
    told = differences(payload)
    expected = {(kind, path) for kind, path in read(parse_event(payload))}
    seen = {(str(each.kind), each.path) for each in told if each.kind is not Kind.UNKNOWN_VALUE}
    if len(told) < MOST:
        assert seen == expected
    else:
        assert seen <= expected
