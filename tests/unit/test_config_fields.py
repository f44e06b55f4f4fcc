"""Fields that no known event has: `relay check` warns, because such a condition never holds and nothing is removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from relay.config import check
from relay.events import CATALOGUE
from relay.events.drift import _known
from relay.vocabulary import KNOWN_FIELDS, has_field

SINKS = "sinks: {log: {type: file, path: '-'}}\n"


def warnings(folder: Path, text: str, env: Mapping[str, str]) -> list[str]:
    file = folder / "relay.yaml"
    file.write_text(text)
    report = check(file, env)
    assert report.errors == ()
    return [str(warning).removeprefix(f"{file}:") for warning in report.warnings]


def asked(folder: Path, where: str, events: str = "'*'", **env: str) -> list[str]:
    return warnings(folder, f"{SINKS}routes:\n- {{name: a, to: [log], events: [{events}], where: {where}}}\n", env)


def _paths(known: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, field in known.items():
        if name != "event":
            yield prefix + name
        if field.inside is not None:
            yield from _paths(field.inside, f"{prefix}{name}.")


def test_the_fields_are_those_of_the_catalogue() -> None:
    catalogue = {name: frozenset(_paths(_known(model))) for name, model in CATALOGUE.items()}
    assert catalogue == KNOWN_FIELDS


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (
            "recording.status == UPLOADED",
            "`UPLOADED`, which no known event of this route has; a text stands in 'single",
        ),
        ("'recording.status == \"UPLOADED\"'", "`UPLOADED`, which no known event"),
        (
            "recordings.status",
            "`recordings.status`, which no known event of this route has; did you mean `recording.st",
        ),
        (
            "meeting.titel && meeting.id",
            "`meeting.titel`, which no known event of this route has; did you mean `meeting",
        ),
        ("contains(['LIVE'], stat)", "`stat`, which"),
        ("meeting.status == true", "`true`, which no known event of this route has; write it in `` `backticks`"),
    ],
)
def test_a_condition_on_a_field_that_is_not_there_is_told(tmp_path: Path, where: str, told: str) -> None:
    where = where if where.startswith("'") else f'"{where}"'
    [warning] = asked(tmp_path, where)
    assert warning.startswith(f"3: routes[0].where: asks for {told}")


def test_what_another_event_has_is_not_there(tmp_path: Path) -> None:
    [warning] = asked(tmp_path, "recording.status", "'meeting.*'")
    assert "`recording.status`, which no known event of this route has" in warning


def test_a_secret_in_a_condition_is_not_repeated(tmp_path: Path) -> None:
    [warning] = asked(tmp_path, '"${FIELD}"', FIELD="hunter2")
    assert "asks for a field that no known event" in warning
    assert "hunter2" not in warning


@pytest.mark.parametrize(
    ("where", "events"),
    [
        ("\"meeting.id || meetingId || 'none'\"", "'*'"),
        ("event == 'x'", "'*'"),
        ("recording.stopReason.code.text", "'recording.*'"),
        ("\"pupils[?name == 'x'] && meeting\"", "'meeting.*'"),
        ("keys(@)", "'*'"),
        ("meeting.title != null", "'*'"),
        ("room.id", "'classroom.*', 'meeting.none'"),
    ],
)
def test_what_is_there_or_may_be_there_is_not_told(tmp_path: Path, where: str, events: str) -> None:
    assert [told for told in asked(tmp_path, where, events) if "where" in told] == []


def test_a_path_that_takes_nothing_away_is_told(tmp_path: Path) -> None:
    redact = "redact: [participant.userDisplyName, streamKey], pseudonymize: [participant.name, meeting.organizedBy.id]"
    key = "pseudonym_key: 0123456789abcdef"
    text = f"sinks: {{log: {{type: file, path: '-', {redact}, {key}}}}}\nroutes: [{{name: a, to: [log]}}]\n"
    removed, replaced = warnings(tmp_path, text, {})
    assert "redact[0]: `participant.userDisplyName` is no field of any known event: nothing is removed" in removed
    assert removed.endswith("did you mean `participant.userDisplayName`?")
    assert "pseudonymize[0]: `participant.name` is no field of any known event: nothing is replaced" in replaced


@pytest.mark.parametrize(("path", "there"), [("a", True), ("a.b", True), ("a.b.c", True), ("a.x", False), ("b", False)])
def test_anything_may_stand_in_a_field_that_is_not_described(path: str, *, there: bool) -> None:
    assert has_field(frozenset({"a", "a.b"}), path) is there
