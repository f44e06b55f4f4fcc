"""The JSON Schema of the catalogue: every field described, and true of whatever the sender has ever documented."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from relay.events import CATALOGUE, parse_event
from relay.events.reading import Part
from relay.events.schema import definitions, fields, fires, references, schema, whole
from relay.simulator import EXAMPLES, Provider, example
from relay.vocabulary import KNOWN_TYPES

SAMPLES = sorted((Path(__file__).parents[1] / "samples").rglob("*.json"))
PROVIDERS: tuple[Provider, ...] = ("dyte", "realtimekit")
VALIDATORS = {name: Draft202012Validator(schema(name)) for name in CATALOGUE}
ANY = Draft202012Validator(schema())


def properties(node: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        yield from node.get("properties", {}).items()
        for inner in node.values():
            yield from properties(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from properties(inner)


def test_there_is_one_for_each_event_and_it_says_when_the_event_fires() -> None:
    assert set(CATALOGUE) == KNOWN_TYPES
    for name in CATALOGUE:
        Draft202012Validator.check_schema(schema(name))
        assert schema(name)["properties"]["event"]["const"] == name
        assert re.fullmatch(r"when [a-z][^.]{15,}", fires(name))


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_field_is_described_in_a_sentence_and_in_the_senders_names(name: str) -> None:
    found = list(properties(schema(name)))
    assert len(found) > 5
    for field, described in found:
        assert re.fullmatch(r"[A-Z].{5,}\.", described["description"]), field
        assert described["title"]
        assert not re.search(r"`[a-z]+_[a-z_]+`", described["description"]), field
        assert "default" not in described


def test_every_field_of_the_models_is_in_it_by_each_of_its_names() -> None:
    def names(model: type[Part]) -> set[str]:
        aliases = [field.validation_alias for field in model.model_fields.values()]
        return {str(text) for alias in aliases for text in getattr(alias, "choices", [alias])}

    for name, model in CATALOGUE.items():
        assert set(schema(name)["properties"]) == names(model)
    recording = definitions(["RecordingInfo"])["RecordingInfo"]["properties"]
    assert {"fileSize", "filesize", "roomUUID"} <= recording.keys()
    assert recording["filesize"]["deprecated"] is True


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_valid(name: str, provider: Provider) -> None:
    payload = example(name, provider=provider)
    VALIDATORS[payload["event"]].validate(payload)
    ANY.validate(payload)


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
def test_each_sample_is_valid_whatever_its_generation(file: Path) -> None:
    payload = orjson.loads(file.read_bytes())
    VALIDATORS[payload["event"]].validate(payload)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("meeting.ended", {"event": "meeting.started"}),
        ("meeting.ended", {"event": None}),
        ("meeting.ended", {"meeting": "m-1"}),
        ("meeting.ended", {"reason": 7}),
        ("livestreaming.statusUpdate", {"manualIngest": "no"}),
        ("recording.statusUpdate", {"recording": {"fileSize": [1]}}),
    ],
)
def test_what_the_sender_never_documented_is_not(name: str, change: dict[str, Any]) -> None:
    assert not VALIDATORS[name].is_valid(example(name) | change)


@pytest.mark.parametrize("change", [{"reason": "SOMETHING_NEW"}, {"reason": None}, {"more": 1}, {"meeting": {"x": 1}}])
def test_what_may_be_added_tomorrow_is(change: dict[str, Any]) -> None:
    VALIDATORS["meeting.ended"].validate(example("meeting.ended") | change)


@pytest.mark.parametrize("name", CATALOGUE)
def test_fields_are_listed_with_those_inside_them_and_words_where_there_are_some(name: str) -> None:
    listed = {field.path: field for field in fields(name)}
    for provider in PROVIDERS:
        assert paths(example(name, provider=provider)) <= listed.keys()
    assert all(field.types and field.description for field in listed.values())
    words = {path: set(field.words) for path, field in listed.items() if field.words}
    assert words == {
        "meeting.ended": {"reason": {"HOST_ENDED_MEETING", "ALL_PARTICIPANTS_LEFT"}},
        "livestreaming.statusUpdate": {"status": {"LIVE", "IDLE", "OFFLINE"}},
        "recording.statusUpdate": {
            "recording.status": {"INVOKED", "RECORDING", "PAUSED", "UPLOADING", "UPLOADED", "ERRORED"}
        },
    }.get(name, {})


def paths(payload: dict[str, Any], prefix: str = "") -> set[str]:
    inner = [paths(found, f"{prefix}{key}.") for key, found in payload.items() if isinstance(found, dict)]
    return {f"{prefix}{key}" for key in payload}.union(*inner)


def test_a_whole_schema_has_nothing_to_look_up_and_is_ours_to_change() -> None:
    made = whole("recording.statusUpdate")
    assert list(references(made)) == []
    Draft202012Validator(made).validate(example("recording.statusUpdate"))
    made["properties"].clear()
    assert whole("recording.statusUpdate")["properties"]
    definitions(["MeetingInfo"])["MeetingInfo"].clear()
    assert definitions(["MeetingInfo"])["MeetingInfo"]


def test_unknown_events_have_the_schema_of_those_that_nobody_knows() -> None:
    Draft202012Validator(schema("meeting.exploded")).validate({"event": "meeting.exploded", "force": 9})
    assert not Draft202012Validator(schema("meeting.exploded")).is_valid({})
    assert type(parse_event({"event": "meeting.exploded"})).__name__ == schema("meeting.exploded")["title"]
