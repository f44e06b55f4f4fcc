"""The commands as people and machines use them: what they print, and the exit codes 0 done, 1 failed, 2 wrong use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.simulator import SimulatorKey
from tests.acceptance.process import relay as relay_process
from tests.fakes.http import Answer, FakeHttp
from tests.fakes.keys import FakeKeyServer
from tests.running import Relay, config, payload, relay_running, write_config

HOSTILE = "[/red] [bold]m-1[/bold] \N{PILE OF POO}"


def invoke(*arguments: str | Path, env: Mapping[str, str] | None = None) -> Result:
    """Run a command in this process; an exception that it does not handle fails the test."""
    return CliRunner().invoke(main, [str(each) for each in arguments], env=dict(env or {}), catch_exceptions=False)


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


# check and schema


WRONG = """\
store: sqlite:///relay.db
gateway: {listen: 127.0.0.1:0, max_bodi: 1MiB}
sinks:
  crm: {type: http, url: "http://[red]", secret: "hunter2"}
routes:
  - {name: all, events: ["meeting.*"], to: [crn]}
"""


def test_check_tells_all_errors_at_once_with_their_lines_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text(WRONG)
    result = invoke("check", "-c", file)
    assert result.exit_code == 2
    for line, culprit in ((2, "max_bodi"), (4, "crm.url"), (4, "crm.secret"), (6, "crn")):
        assert any(f":{line}:" in text and culprit in text for text in result.output.splitlines()), culprit
    assert "hunter2" not in result.output
    assert "did you mean `crm`?" in result.output


@pytest.mark.parametrize("command", ["check", "serve"])
def test_an_unset_variable_is_named(tmp_path: Path, command: str) -> None:
    file = write_config(tmp_path, store="${RELAY_TEST_UNSET_STORE}")
    result = invoke(command, "-c", file)
    assert result.exit_code == 2
    assert "RELAY_TEST_UNSET_STORE" in result.output


def test_the_schema_accepts_a_good_file_and_refuses_a_wrong_key(tmp_path: Path) -> None:
    schema = parsed(invoke("schema"))
    good = config(tmp_path)
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(good | {"gatway": {}}, schema)


# The ledger


@dataclass(frozen=True)
class Kept:
    """A store with something in it, and nobody running."""

    file: Path
    ids: Mapping[str, str]
    """Event ids by a name."""


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return asyncio.run(_filled(tmp_path))


async def _filled(folder: Path) -> Kept:
    async with FakeHttp(default=Answer(400)) as refusing:
        sinks = {
            "audit": {"type": "file", "path": str(folder / "events.jsonl")},
            "crm": {"type": "http", "url": refusing.url, "allow_private": True},
        }
        routes = [{"name": "starts", "events": ["meeting.started"], "to": ["audit", "crm"]}]
        async with relay_running(folder, sinks=sinks, routes=routes) as running:
            sent = {
                "started": await running.post(payload(meeting=HOSTILE), uuid="uuid-of-started"),
                "ended": await running.post(payload("meeting.ended", meeting="m-2")),
                "no json": await running.post(b"\xff no JSON"),
            }
            await running.settled("audit", 1)
            await running.settled("crm", 1)
    return Kept(folder / "relay.yaml", {name: answer.json["id"] for name, answer in sent.items()})


def test_a_body_is_shown_on_demand(kept: Kept) -> None:
    readable = parsed(invoke("events", "show", kept.ids["ended"], "-c", kept.file, "--json", "--body"))
    assert json.loads(readable["body"]) == payload("meeting.ended", meeting="m-2")
    unreadable = ("events", "show", kept.ids["no json"], "-c", kept.file, "--json")
    assert "body_base64" not in parsed(invoke(*unreadable, "--body")), "nothing can be hidden in what cannot be read"
    assert parsed(invoke(*unreadable, "--reveal"))["body_base64"] == "/yBubyBKU09O"
    assert "Täglich" in invoke("events", "show", kept.ids["ended"], "-c", kept.file, "--body").output


# simulate


async def simulate(relay_url: str, folder: Path, *more: str) -> Result:
    arguments = ("simulate", "--url", relay_url, "--key", str(folder), "--retries", "0", *more)
    return await asyncio.to_thread(invoke, *arguments)


def trusting(folder: Path) -> dict[str, Any]:
    return {"dyte": {"public_key": SimulatorKey.load_or_create(folder).public_pem}}


async def posted(running: Relay, folder: Path, *more: str) -> Result:
    return await simulate(f"{running.base}/webhooks/dyte", folder, *more)


async def test_simulate_posts_whole_meetings(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    async with relay_running(tmp_path, sources=trusting(folder)) as running:
        result = await posted(running, folder, "--meetings", "2", "--duplicates", "1", "--json", "--seed", "s")
        totals = await running.totals()
    found = parsed(result)
    assert result.exit_code == 0
    assert found["seed"] == "s"
    assert found["outcomes"]["accepted"] == found["outcomes"]["duplicate"] == totals["routed"] > 10
    assert found["posted"] == 2 * totals["routed"]


@pytest.mark.parametrize("provider", ["dyte", "realtimekit"])
async def test_simulate_speaks_for_people_too(tmp_path: Path, provider: str) -> None:
    folder = tmp_path / "key"
    async with relay_running(tmp_path, sources=trusting(folder)) as running:
        result = await posted(running, folder, "--provider", provider)
    assert result.exit_code == 0
    assert " accepted\n" in result.output
    assert "p99" in result.output


async def test_simulate_says_why_nothing_was_taken(tmp_path: Path) -> None:
    folder = tmp_path / "key"
    async with relay_running(tmp_path) as running, FakeKeyServer() as nowhere:
        untrusted = await posted(running, folder)
        lost = await simulate(f"{running.base}/elsewhere", folder)
        await nowhere.stop()
        silent = await simulate(f"{nowhere.url}/webhooks/dyte", folder)
    without_key = tmp_path / "without"
    without_key.mkdir()
    async with relay_running(without_key, sources={"dyte": {"public_key_url": nowhere.key_url}}) as keyless:
        waiting = await posted(keyless, folder)
    for result, outcome, hint in (
        (untrusted, "401", "does not trust the simulator's key"),
        (lost, "404", "no source with this path"),
        (silent, "no answer", "is `relay serve` running?"),
        (waiting, "503", "/readyz"),
    ):
        assert result.exit_code == 1, outcome
        assert outcome in result.stdout
        assert hint in result.stderr


def test_simulate_prints_the_key_that_a_source_takes(tmp_path: Path) -> None:
    pem = invoke("simulate", "--key", tmp_path / "key", "--print-key").stdout
    assert pem == (tmp_path / "key" / "public.pem").read_text()
    assert pem.startswith("-----BEGIN PUBLIC KEY-----\n")
    assert (tmp_path / "key" / "private.pem").stat().st_mode & 0o077 == 0


# demo, and the ways in


async def test_help_and_version() -> None:
    version, help_text = await relay_process("--version"), await relay_process("serve", "--help")
    assert (version.code, version.out) == (0, "dyte-relay, version 0.1.0\n")
    assert "relay serve -c" in help_text.out
