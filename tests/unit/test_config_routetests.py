"""Test files: read whole, and every mistake with its line and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from relay.config import InvalidConfig
from relay.config.routetests import Known, RouteTest, read_tests
from relay.expectations import Expected, Wanted

KNOWN = Known(
    examples=["meeting.started", "meeting.ended"],
    providers=["dyte", "realtimekit"],
    sources=["dyte"],
    routes=["everything"],
    sinks={"events": ["topic", "key"], "odd": []},
)
WHOLE = """\
tests:
  - name: whole
    given:
      example: meeting.started
      provider: realtimekit
      source: dyte
      webhook_id: w-1
      with: {a.b: 1, c: "1", d: ~, e: [true, 0x10, .5], f: {g: no, h: 1e999}}
      without: [x.y]
    expect:
      routes: [everything]
      to: [events]
      not_sinks: [odd]
      sinks:
        events:
          topic: 1.10
          key: null
          headers: {ce_type: ["~ a", ~], n: 1}
          payload: {a: {b: 1}}
          refused: x
"""


def found_in(folder: Path, text: str | bytes) -> Sequence[RouteTest]:
    file = folder / "relay.test.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_tests(file, KNOWN)


def test_all_that_a_test_may_say(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path, WHOLE)
    given = found.given
    assert (found.name, found.line, found.number, found.file) == ("whole", 2, 0, str(tmp_path / "relay.test.yaml"))
    assert (given.example, given.provider, given.source, given.webhook_id) == (
        "meeting.started",
        "realtimekit",
        "dyte",
        "w-1",
    )
    assert given.changes == {"a.b": 1, "c": "1", "d": None, "e": [True, 16, 0.5], "f": {"g": "no", "h": "1e999"}}
    assert given.without == ["x.y"]
    wanted = Wanted(
        facts={"topic": ["1.10"], "key": [None]},
        headers={"ce_type": ["~ a", None], "n": ["1"]},
        payload={"a": {"b": 1}},
        refused=["x"],
    )
    assert found.expected == Expected(routes=["everything"], to=["events"], not_sinks=["odd"], sinks={"events": wanted})


def test_a_body_is_a_file_beside_the_tests(tmp_path: Path) -> None:
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "x.json").write_bytes(b"\xff any bytes")
    (found,) = found_in(tmp_path, "tests: [{name: a, given: {file: samples/x.json}, expect: {nowhere: true}}]")
    assert found.given.body == b"\xff any bytes"
    assert found.expected == Expected(nowhere=True)


def test_a_payload_may_be_anything(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path, "tests: [{name: a, given: {payload: [1, {a: b}]}, expect: {to: []}}]")
    assert found.given.payload == [1, {"a": "b"}]
    assert found.expected.to == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: tests: holds no tests; write `tests:` and under it"),
        ("tests: []", ":1: tests: holds no tests"),
        ("[]", ":1: must be a mapping"),
        ("tests: {}", ":1: tests: must be a list; write"),
        ("test: []", ":1: test: unknown key; did you mean `tests`?"),
        ("tests: [hello]", ":1: tests[0]: must be a mapping; write `- name: …`"),
        ("tests: [{name: a, given: {example: meeting.ended}}]", "tests[0].expect: is missing; add `expect: {routes:"),
        ("tests: [{given: {example: meeting.ended}, expect: {to: []}}]", "tests[0].name: is missing; add `name: "),
        ("tests: [{name: a, expect: {to: []}}]", "tests[0].given: is missing; add `given: {example:"),
        ("tests: [{name: [a], given: {payload: 1}, expect: {to: []}}]", "tests[0].name: must be a text"),
        ("tests: [{name: '', given: {payload: 1}, expect: {to: []}}]", "tests[0].name: must be a text, and not empty"),
        ("tests: [{name: a, given: 1, expect: {to: []}}]", "tests[0].given: must be a mapping; write `key: value`"),
        ("tests: [{name: a, gven: {}, expect: {to: []}}]", "tests[0].gven: unknown key; did you mean `given`?"),
        ("tests: [{name: a, given: {}, expect: {to: []}}]", "tests[0].given: names no event; write one of `example`"),
        (
            "tests: [{name: a, given: {example: meeting.ended, payload: 1}, expect: {to: []}}]",
            "tests[0].given: has example and payload; write one of",
        ),
        (
            "tests: [{name: a, given: {example: meeting.ende}, expect: {to: []}}]",
            "given.example: there is no example `meeting.ende`; did you mean `meeting.ended`?",
        ),
        (
            "tests: [{name: a, given: {payload: 1, source: zoom}, expect: {to: []}}]",
            "given.source: there is no source `zoom`; there are `dyte`",
        ),
        (
            "tests: [{name: a, given: {file: none.json}, expect: {to: []}}]",
            "given.file: cannot be read: No such file or directory; write its path, beginning where the test file is",
        ),
        (
            'tests: [{name: a, given: {file: "a\\0b"}, expect: {to: []}}]',
            "given.file: cannot be read: the path is impossible",
        ),
        ("tests: [{name: a, given: {payload: 1, with: [x]}, expect: {to: []}}]", "given.with: must be a mapping"),
        ("tests: [{name: a, given: {payload: 1, without: x}, expect: {to: []}}]", "given.without: must be a list"),
        ("tests: [{name: a, given: {payload: 1}, expect: {}}]", "tests[0].expect: expects nothing; write `routes`"),
        (
            "tests: [{name: a, given: {payload: 1}, expect: {routes: [evrything]}}]",
            "expect.routes[0]: there is no route `evrything`; did you mean `everything`?",
        ),
        (
            "tests: [{name: a, given: {payload: 1}, expect: {sinks: {evnts: {}}}}]",
            "expect.sinks.evnts: there is no sink `evnts`; did you mean `events`?",
        ),
        (
            "tests: [{name: a, given: {payload: 1}, expect: {sinks: {events: {topci: x}}}}]",
            "expect.sinks.events.topci: unknown key; did you mean `topic`?",
        ),
        (
            "tests: [{name: a, given: {payload: 1}, expect: {sinks: {events: 1}}}]",
            "expect.sinks.events: must be a mapping",
        ),
        (
            "tests: [{name: a, given: {payload: 1}, expect: {sinks: {events: {topic: {a: b}}}}}]",
            "expect.sinks.events.topic: must be a text",
        ),
        ("tests: [{name: a, given: {payload: 1}, expect: {nowhere: maybe}}]", "nowhere: must be true or false"),
        (
            "tests: [{name: a, given: {payload: 1}, expect: {nowhere: true, to: [events]}}]",
            "expect.nowhere: excludes `to` and `sinks`; keep one of them",
        ),
        (
            "tests:" + 2 * "\n- {name: a, given: {payload: 1}, expect: {to: []}}",
            ":3: tests[1].name: is the name of the test in line 2 too; choose another one",
        ),
        ("tests: [{name: a, given: &x {payload: 1}, expect: {to: []}}]", "has an anchor"),
        ("tests: [{name: a, given: {payload: 1}, expect: !t {to: []}}]", "has a tag"),
        ("tests: [*x]", "uses an alias"),
        ("tests: [{name: *x, given: {payload: *x}, expect: {nowhere: *x, to: *x}}]", "uses an alias"),
        ("tests: [{name: a, given:", ":1: "),
    ],
)
def test_a_mistake_has_its_line_and_what_to_do(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        found_in(tmp_path, text)
    assert said in str(caught.value)


def test_all_mistakes_at_once(tmp_path: Path) -> None:
    text = "tests:\n  - {name: a, given: {}, expect: {}}\n  - {nme: b}\nmore: 1\n"
    with pytest.raises(InvalidConfig) as caught:
        found_in(tmp_path, text)
    assert [problem.line for problem in caught.value.problems] == [2, 2, 3, 3, 3, 3, 4]


def test_where_it_is_not_known_what_a_sink_tells_anything_may_be_expected(tmp_path: Path) -> None:
    (found,) = found_in(tmp_path, "tests: [{name: a, given: {payload: 1}, expect: {sinks: {odd: {any: x}}}}]")
    assert found.expected.sinks["odd"].facts == {"any": ["x"]}


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="does not exist; write the tests into it, or name another file"):
        read_tests(tmp_path / "none.yaml", KNOWN)
