"""Route tests: what holds, what does not, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from relay.expectations import Expected, Outcome, RouteSaid, Sent, Wanted, holds, judge
from relay.model import Failure, Reason
from relay.preview import Preview

PREVIEW = Preview(
    facts={"topic": "dyte.events", "key": None},
    headers={"ce_type": "meeting.ended", "X-Tenant": "a"},
    payload={"meeting": {"title": "Weekly sync", "n": 1, "on": True}, "list": [{"a": 1}, 2], "none": None},
)
ROUTES = {
    "all": RouteSaid(to=["events", "audit"]),
    "recordings": RouteSaid(to=["oncall"], miss="type is 'meeting.ended'"),
}


def outcome(**more: Any) -> Outcome:
    sent = Sent(true=PREVIEW, shown=more.pop("shown", PREVIEW))
    return Outcome(routes=ROUTES, sinks=more.pop("sinks", {"events": sent, "audit": sent}), **more)


def found(expected: Expected, **more: Any) -> list[tuple[str, str, str, str]]:
    return [(each.what, each.expected, each.actual, each.why) for each in judge(expected, outcome(**more))]


def of_events(wanted: Wanted, **more: Any) -> list[tuple[str, str, str, str]]:
    return found(Expected(sinks={"events": wanted}), **more)


@pytest.mark.parametrize(
    "expected",
    [
        Expected(routes=["all"]),
        Expected(to=["audit", "events"]),
        Expected(not_sinks=["oncall"]),
        Expected(sinks={"events": Wanted(), "audit": Wanted()}),
    ],
)
def test_what_holds_is_no_word_worth(expected: Expected) -> None:
    assert judge(expected, outcome()) == []


def test_other_routes_than_expected_and_why() -> None:
    assert found(Expected(routes=["all", "recordings"])) == [
        ("routes", "all, recordings", "all", "recordings: type is 'meeting.ended'")
    ]
    assert found(Expected(routes=[])) == [("routes", "none", "all", "")]


def test_other_sinks_than_expected_and_why() -> None:
    assert found(Expected(to=["events", "audit", "oncall", "lonely"])) == [
        (
            "to",
            "events, audit, oncall, lonely",
            "events, audit",
            "oncall: route recordings: type is 'meeting.ended'\nlonely: no route leads there",
        )
    ]
    assert found(Expected(not_sinks=["audit"])) == [
        ("not_sinks", "not to audit", "to events, audit", "audit: by route all")
    ]
    assert found(Expected(nowhere=True)) == [("nowhere", "no sink gets it", "events, audit", "")]


def test_nowhere_holds_for_whatever_reason() -> None:
    assert found(Expected(nowhere=True), sinks={}, quarantine="not ours") == []
    assert found(Expected(to=["events"]), sinks={}, quarantine="not ours") == [("to", "events", "none", "not ours")]


def test_a_sink_that_does_not_get_it() -> None:
    assert found(Expected(sinks={"oncall": Wanted(facts={"text": ["x"]})})) == [
        ("sinks.oncall", "it gets the event", "it does not", "oncall: route recordings: type is 'meeting.ended'")
    ]


def test_facts_and_headers() -> None:
    assert of_events(Wanted(facts={"topic": ["dyte.events"], "key": [None]}, headers={"x-tenant": ["a"]})) == []
    assert of_events(Wanted(facts={"topic": ["dyte.other"], "key": ["m"]}, headers={"CE_type": ["~ start"]})) == [
        ("sinks.events.topic", "dyte.other", "dyte.events", ""),
        ("sinks.events.key", "m", "nothing", ""),
        ("sinks.events.headers.CE_type", "a text with 'start' in it", "meeting.ended", ""),
    ]
    assert of_events(Wanted(facts={"topic": [None, "!~ events"]}, headers={"absent": ["x"]})) == [
        ("sinks.events.topic", "nothing", "dyte.events", ""),
        ("sinks.events.topic", "a text without 'events'", "dyte.events", ""),
        ("sinks.events.headers.absent", "x", "nothing", ""),
    ]


@pytest.mark.parametrize(
    ("wanted", "actual", "expected"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("~ b", "abc", True),
        ("~b", "ac", False),
        ("!~ b", "ac", True),
        ("!~ b", "abc", False),
        ("!~ b", None, True),
        ("~ b", None, False),
        (None, None, True),
        (None, "a", False),
    ],
)
def test_a_text_is_the_whole_text_unless_it_says_otherwise(
    wanted: str | None, actual: str | None, *, expected: bool
) -> None:
    assert holds(wanted, actual) is expected


@pytest.mark.parametrize(
    "wanted",
    [
        {"meeting": {"title": "Weekly sync"}},
        {"meeting": {"title": "~ Weekly", "other": None}},
        {"meeting": {"n": 1.0, "on": True}},
        {"list": [{"a": 1}, 2]},
        {"none": None, "absent": {"deeper": None}},
        {"absent": "!~ x"},
    ],
)
def test_a_payload_holds_what_is_wanted_at_least(wanted: Any) -> None:
    assert of_events(Wanted(payload=wanted)) == []


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"meeting": {"title": "Other"}}, ("meeting.title", "Other", "Weekly sync")),
        ({"meeting": {"n": True}}, ("meeting.n", "true", "1")),
        ({"meeting": {"n": 2}}, ("meeting.n", "2", "1")),
        ({"meeting": None}, ("meeting", "nothing", '{"title": "Weekly sync", "n": 1, "on": true}')),
        ({"list": [{"a": 2}, 2]}, ("list[0].a", "2", "1")),
        ({"list": [1]}, ("list", "[1]", '[{"a": 1}, 2]')),
        ({"absent": {"b": 1}}, ("absent.b", "1", "nothing")),
        ({"absent": "x"}, ("absent", "x", "nothing")),
    ],
)
def test_a_payload_that_is_otherwise(wanted: Any, expected: tuple[str, str, str]) -> None:
    what, should_be, actual = expected
    assert of_events(Wanted(payload=wanted)) == [(f"sinks.events.payload.{what}", should_be, actual, "")]


def test_what_is_judged_is_true_and_what_is_printed_may_be_seen() -> None:
    true = Preview(
        facts={"key": "k3y"}, headers={}, payload={"streamKey": "k3y", "keys": ["k3y"], "deep": {"a": "k3y"}}
    )
    shown = Preview(facts={"key": "[hidden]"}, headers={}, payload={"streamKey": "[hidden]", "keys": "[hidden]"})
    sinks = {"events": Sent(true=true, shown=shown)}
    right = Wanted(facts={"key": ["k3y"]}, payload={"streamKey": "k3y", "keys": ["k3y"]})
    assert of_events(right, sinks=sinks) == []
    wrong = Wanted(facts={"key": ["k3x"]}, payload={"streamKey": "!~ k3y", "keys": ["x"], "deep": {"a": 1}})
    assert [actual for _, _, actual, _ in of_events(wrong, sinks=sinks)] == [
        "[hidden]",
        "[hidden]",
        "[hidden]",
        "nothing",
    ]
    (mismatch,) = judge(Expected(sinks={"events": Wanted(facts={"key": ["k3x"]})}), outcome(sinks=sinks))
    assert mismatch.at is None, "where they part would tell"


def test_a_list_that_is_shown_shorter_than_it_is() -> None:
    true = Preview(facts={}, headers={}, payload={"list": ["a", "b"]})
    shown = Preview(facts={}, headers={}, payload={"list": ["a"]})
    sinks = {"events": Sent(true=true, shown=shown)}
    assert of_events(Wanted(payload={"list": ["a", "c"]}), sinks=sinks) == [
        ("sinks.events.payload.list[1]", "c", '["a"]', "")
    ]


def test_it_says_where_two_texts_part() -> None:
    def parted(wanted: str, actual: str) -> int | None:
        preview = Preview(facts={"text": actual}, headers={})
        sinks = {"events": Sent(true=preview, shown=preview)}
        (found,) = judge(Expected(sinks={"events": Wanted(facts={"text": [wanted]})}), outcome(sinks=sinks))
        return found.at

    assert parted("Recording of X", "Recording of Y") == len("Recording of ")
    assert parted("Recording", "Recording of Y") == len("Recording")
    assert parted("X", "Y") is None
    assert parted("two\nlines", "two\nother") is None


def test_what_would_be_refused() -> None:
    sinks = {"events": Failure(reason=Reason.TEMPLATE, detail="it fails")}
    assert of_events(Wanted(), sinks=sinks) == [
        ("sinks.events", "it is sent", "nothing would be sent", "template: it fails")
    ]
    assert of_events(Wanted(refused=["~ it fails"]), sinks=sinks) == []
    assert of_events(Wanted(refused=["~ other"]), sinks=sinks) == [
        ("sinks.events.refused", "a text with 'other' in it", "template: it fails", "")
    ]
    assert of_events(Wanted(refused=["~ other", "x"])) == [
        ("sinks.events.refused", "a text with 'other' in it and x", "it is sent", "")
    ]
