"""Whatever JSON comes under an event's name: it is an event, and nothing of it is lost."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from relay.events import (
    CATALOGUE,
    DyteEvent,
    MeetingInfo,
    OrganizationInfo,
    ParticipantInfo,
    RecordingInfo,
    UnknownEvent,
    parse_event,
)
from relay.events.reading import Part
from tests.effort import effort

SAMPLES = [path.read_bytes() for path in sorted((Path(__file__).parent.parent / "samples").rglob("*.json"))]

# What JSON can be, as json.loads gives it (which also makes lone surrogates).
TEXTS = st.text(alphabet=st.characters(exclude_categories=[]), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3))


def spellings(model: type[Part]) -> dict[str, str]:
    """Every name that a field is sent under, with the attribute that reads it."""
    names: dict[str, str] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        for text in [alias] if isinstance(alias, str) else getattr(alias, "choices", []):
            names[text] = name
    return names


MODELS = [*CATALOGUE.values(), MeetingInfo, ParticipantInfo, RecordingInfo, OrganizationInfo]
KEYS = sorted({key for model in MODELS for key in spellings(model)})
LOOKALIKES = st.sampled_from(
    ["12", "1e999", "-0", "2023-04-14 04:46:08.306221Z", "2026-06-03T10:00:00Z", "LIVE", "true"]
)
VALUES = JSON | LOOKALIKES
PARTS = st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES, max_size=8)
BODIES = st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES | PARTS | st.dictionaries(TEXTS, PARTS), max_size=8)


def assert_nothing_lost(part: Part, raw: Mapping[str, Any]) -> None:
    """Each value sent is read, or set aside as unreadable, or kept as an unknown field."""
    names = spellings(type(part))
    kept = {**(part.model_extra or {}), **part._unreadable}
    for key, value in raw.items():
        if key in kept:
            assert kept[key] is value or kept[key] == value
            continue
        assert key in names, f"{key!r} is lost"
        read_as = getattr(part, names[key])
        assert value is None or read_as is not None, f"{key!r} is lost"
        if isinstance(read_as, Part) and isinstance(value, Mapping):
            assert_nothing_lost(read_as, value)


@settings(max_examples=effort(40), deadline=None)
@example(name="livestreaming.statusUpdate", body={"manualIngest": "12", "\ud800": "12"})
@given(name=st.sampled_from(sorted(CATALOGUE)) | TEXTS.filter(bool), body=BODIES)
def test_any_object_with_a_name_is_an_event_and_keeps_everything(name: str, body: dict[str, Any]) -> None:
    raw = {**body, "event": name}
    event = parse_event(raw)
    assert type(event) is CATALOGUE.get(name, UnknownEvent)
    assert_nothing_lost(event, raw)
    repr(event)
    assert touch(event)


def touch(event: DyteEvent) -> bool:
    """Every accessor answers a text or None."""
    names = ["meeting_id", "session_id", "organization_id", "participant_id", "peer_id", "recording_id"]
    return all(isinstance(getattr(event, name, None), str | None) for name in names)


@settings(max_examples=effort(40), deadline=None)
@given(name=st.sampled_from(sorted(CATALOGUE)), body=BODIES)
def test_any_body_with_a_name_is_an_event(name: str, body: dict[str, Any]) -> None:
    event = parse_event(json.dumps({**body, "event": name}))
    assert type(event) is CATALOGUE[name]


def places(value: Any) -> list[Callable[[Any], None]]:
    """One setter for each value inside an object, at any depth."""
    if not isinstance(value, dict):
        return []
    own = [lambda new, key=key: value.__setitem__(key, new) for key in value if key != "event"]
    return own + [setter for child in value.values() for setter in places(child)]


@settings(max_examples=effort(40), deadline=None)
@given(sample=st.sampled_from(SAMPLES), data=st.data())
def test_a_mutated_sample_is_still_an_event(sample: bytes, data: st.DataObject) -> None:
    raw = json.loads(sample)
    data.draw(st.sampled_from(places(raw)))(data.draw(VALUES | PARTS))
    event = parse_event(raw)
    assert type(event) is CATALOGUE[raw["event"]]
    assert_nothing_lost(event, raw)
