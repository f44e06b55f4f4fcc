"""Which sinks an event goes to: one rule at a time, then any table over any event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from relay.model import UNREADABLE, Event, Target
from relay.options import Order
from relay.payload import Defect
from relay.routing import Decision, Miss, Route, RouteOptions, RouteTable
from tests.build import event, parsed

UPLOADED: dict[str, Any] = {
    "event": "recording.statusUpdate",
    "recording": {"status": "UPLOADED", "meetingId": "m", "parts": [], "size": 0},
}
BODIES: Mapping[Defect, bytes] = {
    Defect.NOT_JSON: b"streamKey=s3cret",
    Defect.NOT_OBJECT: b"[1]",
    Defect.TOO_DEEP: b'{"event":"meeting.started","a":' + b"[" * 99 + b"]" * 99 + b"}",
    Defect.NO_TYPE: b'{"event":7,"recording":{"status":"UPLOADED"}}',
}


def route(name: str = "a-route", *, to: tuple[str, ...] = ("a-sink",), **fields: Any) -> RouteOptions:
    return RouteOptions.model_validate({"name": name, "to": to} | fields)


def table(*routes: RouteOptions, orders: Mapping[str, Order] | None = None) -> RouteTable:
    return RouteTable(routes, orders=orders or {})


def decided(of: Event, **fields: Any) -> Decision:
    return Route(route(**fields)).decide(of)


def pairs(targets: Any) -> list[tuple[str, str]]:
    return [(target.route, target.sink) for target in targets]


@pytest.mark.parametrize(
    ("globs", "event_type", "matches"),
    [
        (("*",), "meeting.started", True),
        (("*",), "of.tomorrow", True),
        (("meeting.*",), "meeting.started", True),
        (("meeting.*",), "meeting.", True),
        (("meeting.*",), "meeting", False),
        (("meeting.*",), "x.meeting.started", False),
        (("meeting.started",), "meeting.started", True),
        (("meeting.started",), "meeting.startedX", False),
        (("meeting.started",), "meetingXstarted", False),
        (("meeting.started",), "Meeting.Started", False),
        (("recording.*", "meeting.ended"), "meeting.ended", True),
        (("recording.*", "meeting.ended"), "meeting.started", False),
        (("meeting", "recording"), "meeting.recording", False),
        (("meeting.participant*",), "meeting.participantLeft", True),
        (("*.statusUpdate",), "livestreaming.statusUpdate", True),
        (("meeting.?tarted",), "meeting.started", True),
        (("meeting.[se]*",), "meeting.ended", True),
        (("meeting.[!s]*",), "meeting.started", False),
        (("",), "meeting.started", False),
        (("[",), "meeting.started", False),
        (("(.*)",), "meeting.started", False),
        (("*a" * 60 + "b",), "a" * 128, False),
    ],
)
def test_events_are_globs_over_the_whole_type(globs: tuple[str, ...], event_type: str, *, matches: bool) -> None:
    decision = decided(event(type=event_type), events=globs)
    assert decision.matched is matches
    if not matches:
        assert decision == Decision(route="a-route", miss=Miss.TYPE, detail=f"type is {event_type!r}")


def test_a_route_without_types_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="events"):
        route(events=())
    with pytest.raises(ValidationError, match="to"):
        route(to=())


@pytest.mark.parametrize(
    ("sources", "matches"), [((), True), (("dyte",), True), (("x", "dyte"), True), (("x",), False), (("dyt",), False)]
)
def test_sources_choose_and_none_means_any(sources: tuple[str, ...], *, matches: bool) -> None:
    decision = decided(event(source="dyte"), sources=sources)
    assert decision == (
        Decision(route="a-route") if matches else Decision(route="a-route", miss=Miss.SOURCE, detail="source is 'dyte'")
    )


@pytest.mark.parametrize(
    ("where", "miss", "detail"),
    [
        ("recording.status == 'UPLOADED'", None, ""),
        ("recording.status", None, ""),
        ("recording.size", None, ""),  # a number is true, also 0
        ("recording.status == 'ERRORED'", Miss.WHERE, "where is False"),
        ("recording.nothing.deeper", Miss.WHERE, "where is None"),
        ("recording.parts", Miss.WHERE, "where is []"),
        ("`{}`", Miss.WHERE, "where is {}"),
        ("''", Miss.WHERE, "where is ''"),
        ("abs(recording.status)", Miss.WHERE_ERROR, "abs() takes number, and got string"),
        ("recording.parts[::0]", Miss.WHERE_ERROR, "ValueError: slice step cannot be zero"),
    ],
)
def test_false_null_empty_and_errors_do_not_match(where: str, miss: Miss | None, detail: str) -> None:
    assert decided(event(payload=UPLOADED), where=where) == Decision(route="a-route", miss=miss, detail=detail)


def test_the_first_condition_that_fails_is_the_one_that_is_named() -> None:
    fields = {"sources": ("x",), "events": ("y",), "where": "z"}
    assert decided(event(), **fields).miss is Miss.SOURCE
    del fields["sources"]
    assert decided(event(), **fields).miss is Miss.TYPE
    del fields["events"]
    assert decided(event(), **fields).miss is Miss.WHERE


@pytest.mark.parametrize("defect", Defect)
def test_what_cannot_be_read_reaches_only_fallback_routes_without_where(defect: Defect) -> None:
    unreadable = parsed(BODIES[defect])
    assert (unreadable.defect, unreadable.type) == (defect, UNREADABLE)
    routes = table(
        route("all", to=("all",)),
        route("named", to=("named",), events=(UNREADABLE,)),
        route("picky", to=("picky",), fallback=True, where="recording.status || `true`"),
        route("other-source", to=("other-source",), fallback=True, sources=("x",)),
        route("other-type", to=("other-type",), fallback=True, events=("recording.*",)),
        route("rest", to=("rest",), fallback=True),
        route("by-name", to=("by-name",), fallback=True, events=(UNREADABLE,)),
    )
    assert pairs(routes.match(unreadable)) == [("rest", "rest"), ("by-name", "by-name")]
    assert {decision.route: decision.miss for decision in routes.explain(unreadable)} == {
        "all": Miss.UNREADABLE,
        "named": Miss.UNREADABLE,
        "picky": Miss.UNREADABLE,
        "other-source": Miss.SOURCE,
        "other-type": Miss.TYPE,
        "rest": None,
        "by-name": None,
    }
    assert next(decision.detail for decision in routes.explain(unreadable) if decision.route == "all") == defect


def test_every_route_that_matches_delivers_and_a_sink_gets_an_event_once() -> None:
    routes = table(
        route("first", to=("kafka", "slack")),
        route("none", to=("crm",), events=("recording.*",)),
        route("second", to=("slack", "crm", "crm")),
    )
    assert pairs(routes.match(event())) == [("first", "kafka"), ("first", "slack"), ("second", "crm")]


def test_a_fallback_route_takes_only_what_no_other_did_wherever_it_stands() -> None:
    routes = table(
        route("rest", to=("audit",), fallback=True),
        route("recordings", to=("crm",), events=("recording.*",)),
        route("more", to=("audit", "file"), fallback=True, events=("meeting.*",)),
    )
    assert pairs(routes.match(event(type="recording.statusUpdate"))) == [("recordings", "crm")]
    assert pairs(routes.match(event(type="of.tomorrow"))) == [("rest", "audit")]
    assert pairs(routes.match(event(type="meeting.ended"))) == [("rest", "audit"), ("more", "file")]
    assert routes.explain(event(type="recording.statusUpdate")) == [
        Decision(route="rest", miss=Miss.NOT_NEEDED, detail="another route matched"),
        Decision(route="recordings"),
        Decision(route="more", miss=Miss.TYPE, detail="type is 'recording.statusUpdate'"),
    ]


def test_an_explanation_says_what_a_condition_saw() -> None:
    routes = table(
        route("errored", where="recording.status == 'ERRORED'"),
        route("wrong", where="abs(recording.status)"),
        route("uploaded", where="recording.status == 'UPLOADED'"),
        route("ended", events=("meeting.ended",), where="x"),
    )
    explained = {decision.route: decision for decision in routes.explain(event(payload=UPLOADED))}
    assert explained["errored"].saw == explained["wrong"].saw == {"recording.status": "UPLOADED"}
    assert explained["uploaded"].saw == explained["ended"].saw == {}


def test_of_types_without_end_only_some_are_remembered_and_all_are_matched() -> None:
    routes = table(route("numbered", events=("odd.*",)), route("rest", to=("other",), fallback=True))
    for number in range(300):
        assert pairs(routes.match(event(type=f"odd.{number}"))) == [("numbered", "a-sink")]
        assert pairs(routes.match(event(type=f"even.{number}"))) == [("rest", "other")]
    assert len(routes._fitting) == 256


def test_no_match_is_an_answer() -> None:
    assert table().match(event()) == []
    assert table().explain(event()) == []
    assert table(route(events=("recording.*",))).match(event()) == []


def test_the_order_key_is_the_thread_for_sinks_that_want_order() -> None:
    orders = {"kafka": Order.MEETING, "http": Order.NONE}
    routes = table(route(to=("kafka", "http", "unknown")), orders=orders)
    assert routes.match(event(meeting="m")) == [
        Target(route="a-route", sink="kafka", order_key="m"),
        Target(route="a-route", sink="http"),
        Target(route="a-route", sink="unknown"),
    ]
    assert [target.order_key for target in routes.match(event(meeting=None, stream="st"))] == ["st", None, None]
    assert [target.order_key for target in routes.match(event(meeting=None))] == [None, None, None]


names = st.sampled_from(["a", "b", "c", "d"])
globs = st.sampled_from(["*", "meeting.*", "recording.*", "*.statusUpdate", UNREADABLE]) | st.text(
    "[]!-^*?.ab\\&|", max_size=8
)
conditions = st.none() | st.sampled_from(
    ["recording.status", "`0`", "event", "abs(event)", "meeting[::0]", "@", "merge(@, `true`)", "&event", "length(@)"]
)
tables = st.lists(
    st.builds(
        route,
        names,
        to=st.lists(names, min_size=1, max_size=3).map(tuple),
        sources=st.lists(st.sampled_from(["dyte", "x"]), max_size=2).map(tuple),
        events=st.lists(globs | st.text(max_size=5), min_size=1, max_size=3).map(tuple),
        where=conditions,
        fallback=st.booleans(),
    ),
    max_size=5,
    unique_by=lambda options: options.name,
)
bodies = st.one_of(
    st.sampled_from([*BODIES.values(), json.dumps(UPLOADED).encode(), b'{"event":"meeting.ended","streamId":"s"}']),
    st.builds(lambda name: json.dumps({"event": name, "meeting": {"id": name}}).encode(), st.text(max_size=20)),
    st.binary(max_size=60),
    st.sampled_from([b"[" * 5000, b'{"event":"a","b":"\\ud83d"}', b'{"event":NaN}', b'{"event":"a","event":"b"}']),
)


@given(tables, bodies, st.dictionaries(names, st.sampled_from(Order)))
def test_match_is_total_for_any_table_and_bytes_and_explain_agrees(
    routes: list[RouteOptions], body: bytes, orders: dict[str, Order]
) -> None:
    of, rules = parsed(body), RouteTable(routes, orders=orders)
    targets, decisions = rules.match(of), rules.explain(of)
    to = {options.name: options.to for options in routes}
    assert sorted(decision.route for decision in decisions) == sorted(to)
    explained: dict[str, str] = {}
    for decision in decisions:
        for sink in to[decision.route] if decision.matched else ():
            explained.setdefault(sink, decision.route)
    assert {target.sink: target.route for target in targets} == explained
    assert len(targets) == len(explained)
    for target in targets:
        assert target.order_key == (of.thread if orders.get(target.sink) is Order.MEETING else None)
    regular = {options.name for options in routes if not options.fallback}
    assert len({target.route in regular for target in targets}) <= 1
    assert of.defect is None or not regular & {target.route for target in targets}
