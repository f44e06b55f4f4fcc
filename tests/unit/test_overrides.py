"""Changes to a payload by dotted paths: what they make of it, and where there is no place for them."""

from __future__ import annotations

from typing import Any

import pytest

from relay.overrides import Unchangeable, overridden

GIVEN: dict[str, Any] = {"event": "x", "meeting": {"id": "m", "people": [{"name": "Ann"}, {"name": "Bob"}]}}


def test_values_are_set_and_left_out() -> None:
    changes = {
        "event": "y",
        "meeting.id": None,
        "meeting.people.1.name": "Eve",
        "recording.status": "UPLOADED",
        "meeting.people.0": 1,
    }
    assert overridden(GIVEN, changes, []) == {
        "event": "y",
        "meeting": {"id": None, "people": [1, {"name": "Eve"}]},
        "recording": {"status": "UPLOADED"},
    }
    assert overridden(GIVEN, {}, ["meeting.people", "event"]) == {"meeting": {"id": "m"}}
    assert GIVEN["event"] == "x"
    assert len(GIVEN["meeting"]["people"]) == 2


@pytest.mark.parametrize(
    ("changes", "without", "message"),
    [
        ({"event.x": 1}, [], '`event.x` cannot be set: what holds it is "x"'),
        ({"event.x.y": 1}, [], '`event.x.y` cannot be set: what holds `x` is "x"'),
        ({"meeting.people.2": 1}, [], "`meeting.people.2` cannot be set"),
        ({"meeting.people.two.name": 1}, [], "`meeting.people.two.name` cannot be set"),
        ({}, ["meeting.nope"], "`meeting.nope` cannot be left out: it is not there"),
        ({}, ["event.x.y"], "`event.x.y` cannot be left out: it is not there"),
    ],
)
def test_a_place_that_is_not_there(changes: dict[str, Any], without: list[str], message: str) -> None:
    with pytest.raises(Unchangeable) as caught:
        overridden(GIVEN, changes, without)
    assert str(caught.value).startswith(message)
