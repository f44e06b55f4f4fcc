"""`relay explain`: what every route says of an event, and what each sink would be sent."""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner, Result

from relay import standard_webhooks
from relay.cli import main
from relay.sinks.slack.cards.picture import columns
from tests.commands import done, harmless, in_terminal
from tests.fakes.http import FakeHttp
from tests.running import payload, relay_running, write_config

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
SINKS: dict[str, Any] = {
    "events": {
        "type": "kafka",
        "bootstrap_servers": ["127.0.0.1:1"],
        "topic": "dyte.{type}",
        "redact": ["recording.downloadUrl", "participant.userDisplayName"],
        "pseudonymize": ["meeting.title"],
        "pseudonym_key": "${PSEUDONYMS}",
    },
    "crm": {
        "type": "http",
        "url": "https://crm.example/hooks?key=k3y",
        "headers": {"authorization": "Bearer ${CRM_TOKEN}"},
        "secret": "${CRM_SECRET}",
        "select": "{type: event, id: meeting.id}",
    },
    "oncall": {"type": "slack", "webhook_url": "${SLACK_WEBHOOK_URL}"},
    "team": {"type": "slack", "webhook_url": "${SLACK_WEBHOOK_URL}", "text": "<{{ recording.downloadUrl }}|watch>"},
    "audit": {"type": "file", "path": "events.jsonl", "enabled": False},
}
ROUTES = [
    {"name": "everything", "events": ["*"], "to": ["events", "audit"]},
    {"name": "uploads", "events": ["recording.*"], "where": "recording.status == 'UPLOADED'", "to": ["crm", "oncall"]},
    {"name": "rtk", "sources": ["rtk"], "to": ["crm"]},
    {"name": "rest", "fallback": True, "to": ["audit"]},
]
SOURCES = {"dyte": {"organizations": ["ours"], "webhook_ids": ["w-1"]}, "rtk": {"provider": "realtimekit"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_config(tmp_path, sinks=SINKS, routes=ROUTES, sources=SOURCES)
    return tmp_path


def invoke(folder: Path, *arguments: str, stdin: bytes | None = None, **env: str) -> Result:
    command = ["explain", *arguments, "-c", str(folder / "relay.yaml")]
    return CliRunner(env=env).invoke(main, command, input=stdin)


def explained(folder: Path, *arguments: str, stdin: bytes | None = None, **env: str) -> Any:
    """What it says for machines."""
    result = invoke(folder, *arguments, "--json", stdin=stdin, **env)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def of_sinks(told: Any) -> dict[str, Any]:
    return {sink["sink"]: sink for sink in told["sinks"]}


def test_every_route_says_whether_it_matches_and_why_not(folder: Path) -> None:
    result = invoke(folder, "recording.statusUpdate.recording")
    assert result.exit_code == 0, result.output
    assert [line for line in result.stdout.splitlines() if line.startswith("route ")] == [
        "route everything  matched, to events and audit",
        "route uploads     where recording.status == 'UPLOADED' does not hold: recording.status is \"RECORDING\"",
        "route rtk         source is 'dyte', and it takes rtk",
        "route rest        fallback, and another route matched",
    ]
    assert [line for line in result.stdout.splitlines() if line.startswith("sink ")] == [
        "sink events  kafka  by route everything",
        "sink audit  file  by route everything",
    ]


def test_what_each_sink_would_be_sent(folder: Path) -> None:
    sinks = of_sinks(explained(folder, "recording.statusUpdate"))
    assert list(sinks) == ["events", "audit", "crm", "oncall"]
    meeting = "50c8940e-1b97-402a-97d6-2708b7feca41"
    events = sinks["events"]
    assert (events["topic"], events["key"], events["partition_key"]) == (
        "dyte.recording.statusUpdate",
        meeting,
        meeting,
    )
    assert events["headers"]["ce_type"] == "recording.statusUpdate"
    assert events["headers"]["relay_route"] == "everything"
    assert events["changes"] == {
        "removed": ["recording.downloadUrl"],
        "hashed": ["meeting.title"],
        "absent": ["participant.userDisplayName"],
        "projected": False,
    }
    assert "downloadUrl" not in events["payload"]["recording"]
    assert events["payload"]["meeting"]["title"] != "Weekly sync"
    crm = sinks["crm"]
    assert crm["payload"] == {"type": "recording.statusUpdate", "id": meeting}
    assert crm["changes"]["projected"] is True
    assert crm["url"] == "https://crm.example/$CRM_PATH"
    assert crm["headers"]["authorization"] == "$AUTHORIZATION"
    assert crm["variables"] == ["CRM_PATH", "AUTHORIZATION", "WEBHOOK_SIGNATURE"]
    assert crm["curl"].startswith('curl "https://crm.example/$CRM_PATH" \\\n')
    assert '-H "authorization: $AUTHORIZATION"' in crm["curl"]
    assert sinks["oncall"]["card"].startswith(":white_check_mark: Recording is ready: Weekly sync\nDuration  30 min\n")
    assert sinks["oncall"]["payload"]["blocks"][0]["type"] == "header"
    assert sinks["audit"]["path"] == "events.jsonl"
    assert sinks["audit"]["enabled"] is False
    assert sinks["audit"]["payload"]["recording"]["downloadUrl"] == "[hidden]"


def test_the_same_for_people(folder: Path) -> None:
    lines = invoke(folder, "recording.statusUpdate").stdout.splitlines()
    for line in (
        "    redact removed recording.downloadUrl",
        "    pseudonymize hashed meeting.title",
        "    not in this event participant.userDisplayName",
        "    select made the payload: {type: event, id: meeting.id}",
        "    disabled: it waits until the sink is enabled",
        "    topic          dyte.recording.statusUpdate",
        "        ce_type         recording.statusUpdate",
        '    curl "https://crm.example/$CRM_PATH" \\',
        "    │ ✅ Recording is ready: Weekly sync                      │",
        "    payload",
        '          "event": "recording.statusUpdate",',
    ):
        assert line in lines, line
    assert lines[-1].startswith("[hidden] and $VARIABLES stand for what is not shown; --reveal")


def test_a_payload_is_printed_once(folder: Path) -> None:
    write_config(folder, sinks={name: {"type": "file", "path": name} for name in ("a", "b")})
    shown = invoke(folder, "meeting.started").stdout
    assert "payload, the same as that of sink a" in shown
    assert shown.count('"event": "meeting.started"') == 1
    assert "--reveal" not in shown, "nothing is hidden"


def test_an_example_is_of_an_organisation_and_webhook_that_are_let_in(folder: Path) -> None:
    told = explained(folder, "meeting.started")
    assert told["event"]["organization"] == "ours"
    assert told["quarantine"] is None


def test_a_body_of_somebody_else_goes_nowhere(folder: Path) -> None:
    result = invoke(folder, "-", stdin=orjson.dumps(payload()))
    assert result.exit_code == 0
    assert "is of the organisation 'an-organization', which is not in `organizations` of source dyte" in result.stdout
    assert result.stdout.rstrip().endswith("no sink gets it")
    write_config(folder, sources={"dyte": {"organizations": ["ours"]}})
    nameless = invoke(folder, "-", stdin=b'{"event":"meeting.started"}')
    assert "it names no organisation, which is not in `organizations`" in nameless.stdout


def test_the_provider_chooses_shape_and_source(folder: Path) -> None:
    told = explained(folder, "livestreaming.statusUpdate", "--provider", "realtimekit")
    assert told["event"]["source"] == "rtk"
    assert told["origin"] == "bundled example of realtimekit"
    assert of_sinks(told)["audit"]["payload"]["streamKey"] == "[hidden]"
    both = explained(folder, "livestreaming.statusUpdate", "--provider", "realtimekit", "--source", "dyte")
    assert both["event"]["source"] == "dyte"
    assert explained(folder, "livestreaming.statusUpdate", "--source", "rtk")["origin"].endswith("realtimekit")


def test_one_sink_alone_whether_or_not_a_route_leads_there(folder: Path) -> None:
    told = of_sinks(explained(folder, "recording.statusUpdate", "--sink", "crm"))
    assert list(told) == ["crm"]
    assert told["crm"]["route"] == "uploads"
    shown = invoke(folder, "meeting.started", "--sink", "oncall").stdout
    assert "sink oncall  slack  no route sends it there" in shown
    assert "Meeting started: Weekly sync" in shown


def test_a_channel_that_would_read_hidden_too(folder: Path) -> None:
    notes = of_sinks(explained(folder, "recording.statusUpdate", "--sink", "team"))["team"]["notes"]
    assert notes == ["the channel would read [hidden] too; to show it there, name its path in `reveal` of the sink"]
    sinks = {"team": SINKS["team"] | {"reveal": ["recording.downloadUrl"]}}
    write_config(folder, sinks=sinks)
    told = of_sinks(explained(folder, "recording.statusUpdate"))["team"]
    assert (told["text"], told["notes"]) == ("<[hidden]|watch>", []), "the channel reads it, the terminal does not"
    assert "X-Amz-Signature" in of_sinks(explained(folder, "recording.statusUpdate", "--reveal"))["team"]["text"]


def test_a_template_that_works_only_with_what_is_hidden_is_not_called_broken(folder: Path) -> None:
    text, reveal = "{{ recording.downloadUrl.split('?')[1] }}", ["recording.downloadUrl"]
    write_config(folder, sinks={"team": {"type": "slack", "webhook_url": "${X}", "text": text, "reveal": reveal}})
    told = of_sinks(explained(folder, "recording.statusUpdate"))["team"]
    assert (told["refused"], told["text"], told["card"]) == (None, "[hidden]", "[hidden]")
    assert of_sinks(explained(folder, "recording.statusUpdate", "--reveal"))["team"]["text"].startswith("X-Amz-")


@pytest.mark.parametrize("text", ["{{ meeting.title > 3 }}", "{{ nothing }}"])
def test_what_a_sink_would_refuse(folder: Path, text: str) -> None:
    write_config(folder, sinks={"team": {"type": "slack", "webhook_url": "${X}", "text": text}})
    told = of_sinks(explained(folder, "meeting.started"))["team"]
    assert told["refused"]["reason"] == "template"
    assert "nothing would be sent: template: sinks.team.text" in invoke(folder, "meeting.started").stdout


def test_a_body_that_cannot_be_read(folder: Path) -> None:
    plain = {"type": "kafka", "bootstrap_servers": ["127.0.0.1:1"], "topic": "t"}
    write_config(folder, sinks=SINKS | {"plain": plain}, routes=ROUTES, sources=SOURCES | {"dyte": {}})
    result = invoke(folder, "-", stdin=b'\xff{"streamKey": "k3y"}')
    assert "route rest        matched, to audit" in result.stdout
    assert "its body cannot be read (not_json)" in result.stdout
    assert "payload, which is no JSON" in result.stdout
    assert "k3y" not in result.stdout
    assert "--reveal prints it" in result.stdout
    asked = invoke(folder, "-", "--sink", "plain", "--reveal", stdin=b'\xff{"streamKey": "k3y"}')
    assert '        \\xff{"streamKey": "k3y"}' in asked.stdout.splitlines()
    refused = of_sinks(explained(folder, "-", "--sink", "events", stdin=b"\xff"))["events"]["refused"]
    assert refused["detail"] == "the body cannot be redacted or projected: it is not_json"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_with_reveal_the_command_is_what_the_sink_sends(folder: Path) -> None:
    async with FakeHttp() as http:
        crm = SINKS["crm"] | {"url": f"{http.url}/hooks?key=k3y", "allow_private": True}
        del crm["select"]
        write_config(folder, sinks={"crm": crm}, routes=[{"name": "r", "to": ["crm"]}])
        body = orjson.dumps(payload(streamKey="it's a key", title="Grüße 👋")) + b"\n"
        (folder / "event.json").write_bytes(body)
        file = str(folder / "event.json")
        told = await asyncio.to_thread(
            lambda: explained(folder, file, "--reveal", CRM_SECRET=SECRET, CRM_TOKEN="a token")
        )
        command = told["sinks"][0]["curl"]
        process = await asyncio.create_subprocess_shell(f"{command} -s --noproxy '*'")
        assert await process.wait() == 0
        (request,) = await http.wait_for(1)
    assert (request.method, request.path, request.body) == ("POST", "/hooks?key=k3y", body)
    assert request.headers["authorization"] == "Bearer a token"
    assert request.headers["relay-route"] == "r"
    headers = {name.lower(): text for name, text in request.headers.items()}
    key = standard_webhooks.read_secret(SECRET)
    assert standard_webhooks.verify([key], headers=headers, body=body, now=time.time())


async def test_an_event_of_the_ledger(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        event_id = (await relay.post(payload(title="of the ledger"))).json["id"]
        shown = await done(tmp_path, "explain", event_id[:18])
        assert f"sink audit  file  by route everything\n    path  {tmp_path}/events.jsonl" in shown
        assert f"id           {event_id}" in shown
        assert "of the ledger" in shown
        missing = await asyncio.to_thread(invoke, tmp_path, "0000-0000")
        assert missing.exit_code == 1
        wrong = await asyncio.to_thread(invoke, tmp_path, event_id, "--source", "dyte")
        assert (wrong.exit_code, "--source is for examples and files" in wrong.stderr) == (2, True)


async def test_an_event_whose_source_is_gone(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        event_id = (await relay.post(payload())).json["id"]
    write_config(tmp_path, sources={"other": {}})
    assert "its source dyte is not in the configuration any more" in await done(tmp_path, "explain", event_id)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "there is no file, no bundled example and no event in the ledger that is called 'nope'; there are "),
        (["meeting.startd"], "did you mean meeting.started?"),
        (["meeting.started", "--sink", "crn"], "there is no sink 'crn'; did you mean crm?"),
        (["meeting.started", "--source", "zoom"], "there is no source 'zoom'; there are dyte, rtk"),
        (["-", "--provider", "dyte"], ""),
        (["relay.yaml", "--provider", "dyte"], "--provider chooses between the shapes of a bundled example"),
        (["\x1b[31m\u202e"], "'\\x1b[31m\\u202e'"),
    ],
)
def test_wrong_use_is_2_and_says_what_to_do(folder: Path, arguments: list[str], said: str) -> None:
    result = invoke(folder, *arguments, stdin=b"{}")
    assert result.exit_code == (0 if arguments[0] == "-" and not said else 2), result.output
    assert said in result.stderr
    assert harmless(result.stderr)


def test_a_configuration_that_is_wrong(folder: Path) -> None:
    (folder / "relay.yaml").write_text("sinks: {a: {type: flie}}")
    result = invoke(folder, "meeting.started")
    assert result.exit_code == 2
    assert "relay.yaml:1: sinks.a.type: there is no sink type `flie`" in result.stderr


def test_stand_ins_are_named_when_what_is_made_of_them_is_printed(folder: Path) -> None:
    result = invoke(folder, "recording.statusUpdate", "--sink", "crm", "--reveal")
    assert "not set, so something stands in for it: PSEUDONYMS, CRM_TOKEN, CRM_SECRET" in result.stderr
    assert "v1," in result.stdout


HOSTILE = {
    "event": "recording.statusUpdate",
    "meeting": {"id": "m-1", "title": "\x1b[2J[red]\u202eevil\u2069 :smile:"},
    "recording": {"status": "UPLOADED", "outputFileName": "第三季度回顾" * 30 + "👩‍💻👋" * 20},
}


def test_on_a_terminal_nothing_hostile_is_obeyed_and_cards_stay_in_their_frame(folder: Path) -> None:
    sinks = SINKS | {"events": SINKS["events"] | {"key": "meeting.title"}}
    write_config(folder, sinks=sinks, routes=ROUTES, sources=SOURCES | {"dyte": {}})
    (folder / "event.json").write_bytes(orjson.dumps(HOSTILE))
    lines = in_terminal(folder, 80, "explain", str(folder / "event.json"))
    assert harmless("\n".join(lines))
    card = [line for line in lines if line.startswith(("    │", "    ╭", "    ├", "    ╰"))]
    assert len(card) > 8
    assert {columns(line) for line in card} == {80}, "wide characters or not"


def test_without_a_terminal_there_is_no_colour(folder: Path) -> None:
    assert "\x1b" not in invoke(folder, "recording.statusUpdate").stdout
