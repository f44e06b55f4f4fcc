"""Which events may come to a sink: what is said beforehand holds for every event that comes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.asyncapi.reach import TYPES, Reach, reaching
from relay.config import Config
from relay.dyte import Signature, parse
from relay.events import CATALOGUE
from relay.model import UNREADABLE, Event
from relay.routing import RouteTable
from relay.simulator import EXAMPLES, example
from relay.vocabulary import OTHER

SINKS = {name: {"type": "file", "path": name} for name in ("one", "two")}
BODIES = [
    *(orjson.dumps(example(name)) for name in EXAMPLES),
    *(orjson.dumps({"event": name}) for name in ("meeting.exploded", "recording.lost", "x")),
    *(b"no JSON", b"[]", b'{"event": ""}'),
]


def configured(*routes: dict[str, Any]) -> Config:
    named = [{"name": f"r{number}", **route} for number, route in enumerate(routes)]
    return Config.model_validate({"sources": {"dyte": {}, "kit": {}}, "sinks": SINKS, "routes": named})


def reach(config: Config, sink: str = "one") -> dict[str, Reach]:
    return {each.type: each for each in reaching(config, sink)}


def event(body: bytes, source: str) -> Event:
    unsigned = Signature(family="dyte", bytes=b"", uuid=None, webhook_id=None)
    now = datetime(2026, 11, 23, tzinfo=UTC)
    return parse(event_id="id", source=source, body=body, signature=unsigned, headers=(), received_at=now)


def type_of(event: Event) -> str:
    return event.type if event.type in (*CATALOGUE, UNREADABLE) else OTHER


GLOBS = ("*", "**", "meeting.*", "*ed", "meeting.ended", "recording.statusUpdate", "meeting.exploded", "unread*", "x?")
WHERES = (None, None, "recording.status == 'UPLOADED'", "meeting.id", "`false`", "abs('x')")
ROUTES = st.lists(
    st.fixed_dictionaries(
        {
            "events": st.lists(st.sampled_from(GLOBS), min_size=1, max_size=2),
            "where": st.sampled_from(WHERES),
            "sources": st.sampled_from([[], ["dyte"], ["kit"], ["dyte", "kit"]]),
            "to": st.sampled_from([["one"], ["two"], ["two", "one"]]),
            "fallback": st.booleans(),
        }
    ),
    max_size=5,
)


@given(routes=ROUTES)
def test_what_comes_was_said_to_come_and_what_surely_comes_does(routes: list[dict[str, Any]]) -> None:
    config = configured(*routes)
    table = RouteTable(config.routes, orders={})
    said = {sink: reach(config, sink) for sink in SINKS}
    for body in BODIES:
        for source in config.sources:
            came = event(body, source)
            targets = {target.sink: target.route for target in table.match(came)}
            for sink in SINKS:
                expected = said[sink].get(type_of(came))
                if sink in targets:
                    assert expected is not None
                    assert source in expected.sources
                    assert targets[sink] in [route.name for route in expected.ways[source].routes]
                elif expected is not None and source in expected.ways:
                    assert not expected.ways[source].sure


@pytest.mark.parametrize("glob", ["*", "**"])
def test_everything_is_everything_but_what_cannot_be_read(glob: str) -> None:
    found = reach(configured({"events": [glob], "to": ["one"]}))
    assert set(found) == set(TYPES) - {UNREADABLE}
    assert all(each.sure and each.sources == ["dyte", "kit"] for each in found.values())


def test_types_that_nobody_knows_yet_come_by_open_globs_and_by_their_names() -> None:
    assert set(reach(configured({"events": ["recording.*"], "to": ["one"]}))) == {"recording.statusUpdate", OTHER}
    assert set(reach(configured({"events": ["recording.statusUpdate"], "to": ["one"]}))) == {"recording.statusUpdate"}
    assert set(reach(configured({"events": ["meeting.exploded"], "to": ["one"]}))) == {OTHER}
    assert not reach(configured({"events": ["recording.*"], "to": ["one"]}))[OTHER].sure


def test_a_condition_makes_it_unsure() -> None:
    found = reach(configured({"events": ["meeting.ended"], "where": "meeting.id", "to": ["one"]}))
    assert not found["meeting.ended"].sure


def test_a_route_for_one_source_makes_it_sure_for_that_one_only() -> None:
    found = reach(
        configured(
            {"events": ["meeting.ended"], "sources": ["kit"], "to": ["one"]},
            {"events": ["meeting.ended"], "where": "meeting.id", "to": ["one"]},
        )
    )["meeting.ended"]
    assert {source: way.sure for source, way in found.ways.items()} == {"dyte": False, "kit": True}
    assert not found.sure


def test_later_routes_than_one_that_takes_all_do_not_count() -> None:
    found = reach(
        configured(
            {"events": ["meeting.ended"], "where": "reason", "to": ["one"]},
            {"to": ["two", "one"]},
            {"events": ["meeting.ended"], "to": ["one"]},
        )
    )
    assert [route.name for route in found["meeting.ended"].routes] == ["r0", "r1"]
    assert found["meeting.ended"].sure


def test_a_fallback_route_gets_what_no_other_surely_takes() -> None:
    regular = {"events": ["meeting.*"], "to": ["two"]}
    sometimes = {"events": ["recording.*"], "where": "recording.status == 'UPLOADED'", "to": ["two"]}
    fallback = {"fallback": True, "to": ["one"]}
    assert set(reach(configured(regular, sometimes, fallback))) == {
        "recording.statusUpdate",
        "livestreaming.statusUpdate",
        OTHER,
        UNREADABLE,
    }
    sure = {kind: each.sure for kind, each in reach(configured(regular, sometimes, fallback)).items()}
    assert sure == {"recording.statusUpdate": False, "livestreaming.statusUpdate": True, OTHER: False, UNREADABLE: True}
    assert set(reach(configured({"to": ["two"]}, fallback))) == {UNREADABLE}
    assert set(reach(configured({"sources": ["kit"], "to": ["two"]}, fallback))) == set(TYPES)
    assert reach(configured({"sources": ["kit"], "to": ["two"]}, fallback))["meeting.ended"].sources == ["dyte"]
    assert UNREADABLE not in reach(configured(fallback | {"where": "event"}))


def test_of_a_sink_that_no_route_names_nothing_is_said() -> None:
    assert reach(configured({"to": ["two"]})) == {}
