"""`relay test`: route tests beside a configuration, what they say when one fails, and JUnit XML for CI."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from tests.commands import harmless
from tests.running import payload, write_config

ROOT = Path(__file__).parents[2]
SINKS: dict[str, Any] = {
    "events": {"type": "kafka", "bootstrap_servers": ["${BROKER}"], "topic": "dyte.{type}", "key": "session"},
    "crm": {
        "type": "http",
        "url": "https://crm.example/hooks",
        "headers": {"authorization": "Bearer ${CRM_TOKEN}"},
        "secret": "${CRM_SECRET}",
        "redact": ["participant.userDisplayName"],
    },
    "oncall": {
        "type": "slack",
        "token": "${TOKEN}",
        "channel": "C1",
        "text": "Recording of {{ meeting.title }} is ready",
    },
    "cards": {"type": "slack", "webhook_url": "${SLACK_WEBHOOK_URL}"},
    "broken": {"type": "slack", "webhook_url": "${SLACK_WEBHOOK_URL}", "text": "{{ meeting.title > 3 }}"},
    "audit": {"type": "file", "path": "-"},
}
ROUTES = [
    {"name": "everything", "events": ["*"], "to": ["events"]},
    {
        "name": "uploads",
        "events": ["recording.*"],
        "where": "recording.status == 'UPLOADED'",
        "to": ["oncall", "cards"],
    },
    {"name": "people", "events": ["meeting.participant*"], "to": ["crm", "audit", "broken"]},
]
SOURCES = {"dyte": {"organizations": ["${ORGANIZATION}"]}, "rtk": {"provider": "realtimekit"}}
PASSING = """\
tests:
  - name: an uploaded recording goes to Slack
    given: {example: recording.statusUpdate.uploaded}
    expect:
      routes: [uploads, everything]
      to: [events, oncall, cards]
      sinks:
        events:
          topic: dyte.recording.statusUpdate
          key: 05e57591-d89e-45c9-ae44-08dc1eaad0e0
          partition_key: 05e57591-d89e-45c9-ae44-08dc1eaad0e0
          headers: {ce_type: recording.statusUpdate, relay_route: everything, relay_replay: null}
          payload: {recording: {fileSize: 2044680, audioDownloadUrl: null, downloadUrl: "~ X-Amz-Signature"}}
        oncall: {channel: C1, text: Recording of Weekly sync is ready, payload: {channel: C1, parse: none}}
        cards: {card: ["~ Weekly sync", "~ 30 min", "!~ X-Amz"], text: "~ Recording is ready"}
      not_sinks: [crm]
  - name: one that runs does not
    given: {example: recording.statusUpdate.recording, provider: realtimekit}
    expect: {to: [events]}
  - name: a name is not for the CRM
    given:
      example: meeting.participantJoined
      with: {participant.customParticipantId: u-1}
      without: [participant.peerId]
    expect:
      sinks:
        crm:
          method: POST
          url: "~ https://crm.example/"
          headers: {Authorization: $AUTHORIZATION, webhook-signature: $WEBHOOK_SIGNATURE, relay-attempt: 1}
          payload: {participant: {userDisplayName: null, peerId: null, customParticipantId: u-1}}
          curl: "!~ Mary Sue"
        audit: {path: "-", headers: {type: meeting.participantJoined, time: "~ 2026-06-03T10:00"}}
        broken: {refused: "~ template"}
  - name: somebody else's meeting goes nowhere
    given: {example: meeting.ended, with: {meeting.organizedBy.id: somebody}}
    expect: {nowhere: true}
  - name: a sample in a file
    given: {file: samples/event.json, source: rtk}
    expect: {routes: [everything], sinks: {events: {headers: {ce_source: rtk}, payload: {meeting: {title: Täglich}}}}}
  - name: what is written here
    given: {payload: {event: meeting.tomorrow}, source: rtk}
    expect: {sinks: {events: {topic: dyte.other}}}
"""
FAILING = """\
tests:
  - name: passes
    given: {example: meeting.started}
    expect: {to: [events]}
  - name: a title [red]with markup[/red]
    given: {example: recording.statusUpdate.recording, with: {meeting.title: "\\e[31mred"}}
    expect:
      routes: [everything, uploads]
      sinks:
        events: {topic: dyte.recording.other, payload: {meeting: {title: x}}}
        oncall: {text: x}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path, sinks=SINKS, routes=ROUTES, sources=SOURCES)
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "event.json").write_bytes(orjson.dumps(payload()))
    return tmp_path


def invoke(folder: Path, *arguments: str, **env: str) -> Result:
    return CliRunner(env=env).invoke(main, ["test", *arguments, "-c", str(folder / "relay.yaml")])


def judged(folder: Path, text: str, *arguments: str, **env: str) -> Result:
    (folder / "relay.test.yaml").write_text(text, "utf-8")
    return invoke(folder, *arguments, **env)


def test_all_that_is_expected_holds(folder: Path) -> None:
    result = judged(folder, PASSING)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[:2] == [
        f"{folder}/relay.test.yaml",
        "  ok      an uploaded recording goes to Slack",
    ]
    assert result.stdout.splitlines()[-1] == "6 tests, all passed"


def test_it_holds_with_and_without_the_secrets(folder: Path) -> None:
    secrets = {"CRM_TOKEN": "t", "CRM_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "TOKEN": "xoxb-1"}
    assert judged(folder, PASSING, **secrets).exit_code == 0
    assert judged(folder, PASSING, **dict.fromkeys(secrets, "")).exit_code == 0


def test_a_difference_says_what_is_and_why(folder: Path) -> None:
    result = judged(folder, FAILING)
    assert result.exit_code == 1
    assert harmless(result.output)
    where = "where recording.status == 'UPLOADED' does not hold: recording.status is \"RECORDING\""
    assert result.stdout.splitlines()[1:] == [
        "  ok      passes",
        f"  failed  a title [red]with markup[/red]  {folder}/relay.test.yaml:5",
        "          routes",
        "            expected   everything, uploads",
        "            but it is  everything",
        f"            because    uploads: {where}",
        "          sinks.events.topic",
        "            expected   dyte.recording.other",
        "                                      ^",
        "            but it is  dyte.recording.statusUpdate",
        "          sinks.events.payload.meeting.title",
        "            expected   x",
        "            but it is  \\x1b[31mred",
        "          sinks.oncall",
        "            expected   it gets the event",
        "            but it is  it does not",
        f"            because    oncall: route uploads: {where}",
        "1 of 2 tests failed",
    ]


def test_for_machines(folder: Path) -> None:
    result = judged(folder, FAILING, "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["ok"], told["passed"], told["failed"]) == (False, 1, 1)
    passed, failed = told["tests"]
    assert (passed["name"], passed["line"], passed["passed"], passed["mismatches"]) == ("passes", 2, True, [])
    assert failed["mismatches"][1] == {
        "what": "sinks.events.topic",
        "expected": "dyte.recording.other",
        "actual": "dyte.recording.statusUpdate",
        "why": "",
        "at": len("dyte.recording."),
    }
    assert "CRM_SECRET" in told["unset"]


def test_junit_for_ci(folder: Path) -> None:
    (folder / "more.test.yaml").write_text(PASSING)
    file = folder / "build" / "relay.xml"
    files = [str(folder / name) for name in ("relay.test.yaml", "more.test.yaml")]
    result = judged(folder, FAILING, *files, "--junit", str(file))
    assert result.exit_code == 1
    root = ET.parse(file).getroot()
    assert (root.tag, root.attrib["tests"], root.attrib["failures"], root.attrib["errors"]) == (
        "testsuites",
        "8",
        "1",
        "0",
    )
    first, second = root
    assert [(suite.tag, suite.attrib["name"], suite.attrib["tests"]) for suite in root] == [
        ("testsuite", files[0], "2"),
        ("testsuite", files[1], "6"),
    ]
    assert (first.attrib["failures"], second.attrib["failures"]) == ("1", "0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", first.attrib["timestamp"])
    passed, failed = first
    assert (passed.tag, len(passed)) == ("testcase", 0)
    assert {name: failed.attrib[name] for name in ("name", "file", "line")} == {
        "name": "a title [red]with markup[/red]",
        "file": files[0],
        "line": "5",
    }
    assert failed.attrib["classname"].endswith(".relay.test")
    assert float(failed.attrib["time"]) >= 0
    (failure,) = failed
    assert failure.tag == "failure"
    assert failure.attrib["message"] == (
        "not as expected: routes, sinks.events.topic, sinks.events.payload.meeting.title, sinks.oncall"
    )
    assert "but it is  dyte.recording.statusUpdate" in (failure.text or "")
    assert "\\x1b[31mred" in (failure.text or ""), "no control stands in XML"


def test_junit_where_nobody_may_write(folder: Path) -> None:
    (folder / "file").write_text("")
    result = judged(folder, PASSING, "--junit", str(folder / "file" / "relay.xml"))
    assert result.exit_code == 2
    assert "--junit: cannot write" in result.stderr


def test_tests_are_chosen_by_name(folder: Path) -> None:
    result = judged(folder, PASSING, "-k", "SLACK")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1:] == ["  ok      an uploaded recording goes to Slack", "1 test, all passed"]
    nothing = judged(folder, PASSING, "-k", "zoom")
    assert nothing.exit_code == 2
    assert nothing.stderr.startswith(
        "no test has 'zoom' in its name; there are\n  an uploaded recording goes to Slack\n"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tests: []", "relay.test.yaml:1: tests: holds no tests; write `tests:`"),
        (
            "tests: [{name: a, given: {example: x}, expect: {too: []}}]",
            "tests[0].expect.too: unknown key; did you mean",
        ),
        (
            "tests:\n- {name: a, given: {example: meeting.ended, with: {event.x: 1}}, expect: {to: []}}",
            'relay.test.yaml:2: tests[0].given: `event.x` cannot be set: what holds it is "meeting.ended"; see what is',
        ),
        (
            "tests: [{name: a, given: {payload: [1], without: [x]}, expect: {to: []}}]",
            "nothing can be changed in the body: it is not_object",
        ),
        (
            "tests: [{name: a, given: {payload: 1}, expect: {sinks: {oncall: {topic: x}}}}]",
            "oncall.topic: unknown key; known keys: `channel`, `text`, `card`, `headers`, `payload` and `refused`",
        ),
    ],
)
def test_wrong_tests_are_2(folder: Path, text: str, said: str) -> None:
    result = judged(folder, text)
    assert result.exit_code == 2
    assert said in result.stderr
    machine = judged(folder, text, "--json")
    assert machine.exit_code == 2
    told = json.loads(machine.stdout)
    assert (told["ok"], told["errors"][0]["file"]) == (False, str(folder / "relay.test.yaml"))


def test_all_that_is_wrong_with_several_files(folder: Path) -> None:
    names = [str(folder / name) for name in ("one.yaml", "two.yaml")]
    (folder / "one.yaml").write_text("tests: []")
    result = invoke(folder, *names)
    assert result.exit_code == 2
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [f"{names[0]}:1", names[1]]


def test_without_a_test_file(folder: Path) -> None:
    result = invoke(folder)
    assert result.exit_code == 2
    assert f"{folder}/relay.test.yaml: does not exist; write the tests into it, or name another file" in result.stderr


def test_a_configuration_that_is_wrong_is_2(folder: Path) -> None:
    (folder / "relay.yaml").write_text("sinks: {a: {type: flie}}")
    result = judged(folder, PASSING)
    assert result.exit_code == 2
    assert "relay.yaml:1: sinks.a.type" in result.stderr


def test_relay_yaml_has_its_own_and_they_pass(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["test", "-c", str(ROOT / "relay.yaml")])
    assert result.exit_code == 0, result.output
    for name in ("relay.yaml", "relay.test.yaml"):
        text = (ROOT / name).read_text("utf-8")
        (tmp_path / name).write_text(re.sub(r"^( +)#(?! \S)", r"\1", text, flags=re.MULTILINE), "utf-8")
    with_all = invoke(tmp_path)
    assert with_all.exit_code == 0, with_all.output
    assert with_all.stdout.count("  ok  ") == 6
