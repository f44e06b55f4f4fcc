"""`relay catalog`: for people, for machines, as AsyncAPI, and for those who ask for what is not there."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator
from rich.console import Console

from relay.cli import main
from relay.commands import catalog
from relay.events import CATALOGUE
from relay.events.schema import fields
from relay.simulator import example
from tests.running import write_config


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["catalog", *arguments])


def done(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result.stdout


def refused(*arguments: str) -> str:
    result = invoke(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr.splitlines()[-1]


def test_it_lists_the_events_and_when_they_fire() -> None:
    lines = done().splitlines()
    assert [line.split()[0] for line in lines[:9]] == list(CATALOGUE)
    assert lines[0] == "meeting.started             when the first participant joins a meeting"
    assert "relay catalog EVENT" in lines[-1]


def test_on_a_terminal_a_text_goes_on_beside_its_event(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = StringIO()
    monkeypatch.setattr(catalog, "out", Console(file=shown, force_terminal=True, width=60, no_color=True))
    done()
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue()).splitlines()
    assert max(map(len, lines)) <= 60
    assert lines[:2] == ["meeting.started             when the first participant joins", " " * 28 + "a meeting"]


def test_it_shows_one_with_its_fields_and_an_example() -> None:
    text = done("recording.statusUpdate")
    assert text.startswith("recording.statusUpdate\nFires when a recording changes its state.\n")
    table = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for field in fields("recording.statusUpdate"):
        assert field.description in table[field.path]
    assert '"UPLOADED"' in table["recording.status"]
    assert table["recording.status"].endswith("Known values: INVOKED, RECORDING, PAUSED, UPLOADING, UPLOADED, ERRORED.")
    assert table["recording.filesize"].endswith("Deprecated.")
    assert json.loads(text[text.index("\n{") : text.index("\n}") + 2]) == example("recording.statusUpdate")
    assert "More examples: recording.statusUpdate.invoked," in text
    assert "--provider realtimekit" in text


def test_it_shows_what_the_other_provider_sends() -> None:
    text = done("livestreaming.statusUpdate", "--provider", "realtimekit")
    assert '"streamKey": "example-stream-key"' in text
    assert "--provider dyte" in text
    assert '"streamKey"' not in done("livestreaming.statusUpdate")


@pytest.mark.parametrize("name", ["recording.statusUpdate.invoked", "RECORDING.STATUSUPDATE.INVOKED"])
def test_an_example_has_a_name_too_in_any_case(name: str) -> None:
    text = done(name)
    assert text.startswith("recording.statusUpdate\n")
    assert '"status": "INVOKED"' in text
    assert "recording.statusUpdate.uploaded" in text


def test_for_machines_there_is_all_of_it() -> None:
    every: list[dict[str, Any]] = json.loads(done("--json"))
    assert [each["event"] for each in every] == list(CATALOGUE)
    for each in every:
        validator = Draft202012Validator(each["schema"])
        assert each["fires"].startswith("when ")
        assert each["examples"].keys() == {"dyte", "realtimekit"}
        for shown in each["examples"].values():
            assert len(shown) == {"recording.statusUpdate": 4, "livestreaming.statusUpdate": 3}.get(each["event"], 1)
            for payload in shown.values():
                validator.validate(payload)
    assert json.loads(done("meeting.ended", "--json")) == every[1]


def test_a_schema_stands_by_itself() -> None:
    for arguments in (("meeting.ended", "--schema"), ("--schema",)):
        made = json.loads(done(*arguments))
        Draft202012Validator.check_schema(made)
        Draft202012Validator(made).validate(example("meeting.ended"))
        assert not Draft202012Validator(made).is_valid({"event": "meeting.exploded"})


def test_asyncapi_is_about_the_configuration(tmp_path: Path) -> None:
    sinks = {"events": {"type": "kafka", "bootstrap_servers": ["kafka:9092"], "topic": "dyte.events"}}
    file = write_config(tmp_path, sinks=sinks)
    made = json.loads(done("--asyncapi", "-c", str(file)))
    assert made["asyncapi"] == "3.0.0"
    assert made["channels"]["events"]["address"] == "dyte.events"


def test_asyncapi_shows_the_path_of_a_service_only_when_asked(tmp_path: Path) -> None:
    file = str(write_config(tmp_path, sinks={"crm": {"type": "http", "url": "https://crm.example/s3cret"}}))
    assert "s3cret" not in done("--asyncapi", "-c", file)
    assert json.loads(done("--asyncapi", "--paths", "-c", file))["channels"]["crm"]["address"] == "/s3cret"


def test_asyncapi_without_kafka_and_http_says_so(tmp_path: Path) -> None:
    result = invoke("--asyncapi", "-c", str(write_config(tmp_path)))
    assert result.exit_code == 0
    assert json.loads(result.stdout)["channels"] == {}
    assert "no event goes to a sink of type kafka or http" in result.stderr


def test_asyncapi_of_a_wrong_file_says_what_is_wrong(tmp_path: Path) -> None:
    result = invoke("--asyncapi", "-c", str(write_config(tmp_path, routes=[{"name": "all", "to": ["nobody"]}])))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "there is no sink `nobody`" in result.stderr


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("meeting.end", "did you mean meeting.ended or meeting.started?"),
        ("recording.statusupdated", "did you mean recording.statusUpdate"),
        ("xyzzy", "`relay catalog` lists them"),
        ("\x1b[31m" + "x" * 10_000, "`relay catalog` lists them"),
    ],
)
def test_an_unknown_event_is_answered_with_those_that_were_meant(asked: str, hint: str) -> None:
    line = refused(asked)
    assert hint in line
    assert line.isprintable()
    assert len(line) < 300


def test_what_does_not_go_together_is_refused() -> None:
    assert "leave EVENT" in refused("meeting.ended", "--asyncapi")
    assert "leave EVENT" in refused("--schema", "--asyncapi")
    assert "--paths belongs to --asyncapi" in refused("--paths")
