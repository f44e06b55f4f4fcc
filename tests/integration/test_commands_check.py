"""`relay check`, `relay schema` and what all commands have in common."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from tests.running import write_config

ROOT = Path(__file__).parents[2]


FIVE = """\
store: mysql://user:geheim@host/db
gateway: {max_bdy: 1MiB}
sinks:
  crm: {type: http, url: "http://127.0.0.1:1/x", allow_private: true, timeout: "${NOT_SET}"}
routes:
  - name: recordings
    events: ["recording.*"]
    where: "recording.status == "
    to: [crm, nobody]
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def five(tmp_path: Path) -> Path:
    file = tmp_path / "relay.yaml"
    file.write_text(FIVE)
    return file


def test_ok(tmp_path: Path) -> None:
    result = invoke("check", "-c", str(write_config(tmp_path)))
    assert result.exit_code == 0
    assert result.stdout.startswith(f"ok       {tmp_path}/relay.yaml: 1 source, 1 sink, 1 route; hash ")
    assert result.stdout.count("\n") == 1
    assert result.stderr == ""


def test_every_mistake_has_file_line_key_and_mend(five: Path) -> None:
    result = invoke("check", "-c", str(five))
    assert result.exit_code == 2
    assert result.stdout == ""
    *errors, last = result.stderr.splitlines()
    assert last == "5 errors: the relay would not start"
    starts = [
        (1, "store"),
        (2, "gateway.max_bdy"),
        (4, "sinks.crm.timeout"),
        (8, "routes[0].where"),
        (9, "routes[0].to[1]"),
    ]
    for line, (number, key) in zip(errors, starts, strict=True):
        assert line.startswith(f"error    {five}:{number}: {key}: "), line
    for line in errors[:3] + errors[4:]:
        assert "; " in line, line
    assert "geheim" not in result.output


def test_mistakes_as_json(five: Path) -> None:
    result = invoke("check", "-c", str(five), "--json")
    assert result.exit_code == 2
    assert result.stderr == ""
    report = json.loads(result.stdout)
    assert report["ok"] is False
    assert [problem["line"] for problem in report["errors"]] == [1, 2, 4, 8, 9]
    assert set(report["errors"][0]) == {"file", "line", "column", "key", "message", "mend"}
    assert all(problem["file"] == str(five) for problem in report["errors"])


def test_no_mistakes_as_json(tmp_path: Path) -> None:
    result = invoke("check", "-c", str(write_config(tmp_path)), "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"ok": True, "errors": [], "warnings": []}


def test_a_warning_is_no_error(tmp_path: Path) -> None:
    result = invoke("check", "-c", str(write_config(tmp_path, routes=[])))
    assert result.exit_code == 0
    assert result.stderr.startswith("warning  ")
    assert result.stdout.startswith("ok       ")


def test_what_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "[red]a[/nope] :key: \\[bold]"
    folder.mkdir(parents=True)
    (folder / "relay.yaml").write_text("'[/red]': 1\n':key:': 2\n")
    result = invoke("check", "-c", str(folder / "relay.yaml"))
    assert result.exit_code == 2
    assert "[red]a[/nope] :key: \\[bold]/relay.yaml:1: [/red]: unknown key" in result.stderr
    good = invoke("check", "-c", str(write_config(folder)))
    assert f"{folder}/relay.yaml: 1 source" in good.stdout


def test_controls_in_the_file_do_not_reach_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml"
    file.write_text('"\\e[31mkey\\u202e": 1\n')
    result = invoke("check", "-c", str(file))
    assert result.exit_code == 2
    assert all(line.isprintable() for line in result.output.splitlines())


def test_the_file_may_be_named_as_it_comes_to_mind(five: Path) -> None:
    assert invoke("check", str(five)).stderr == invoke("check", "-c", str(five)).stderr
    twice = invoke("check", str(five), "-c", str(five))
    assert twice.exit_code == 2
    assert "name the file once: as an argument, or with -c" in twice.stderr


def test_a_missing_file(tmp_path: Path) -> None:
    result = invoke("check", "-c", str(tmp_path / "none.yaml"))
    assert result.exit_code == 2
    assert "does not exist; name the file with -c" in result.stderr


def test_the_schema_is_the_one_in_the_repository() -> None:
    result = invoke("schema")
    assert result.exit_code == 0
    assert result.stdout == (ROOT / "config" / "relay.schema.json").read_text()


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", list(commands(main)), ids=lambda path: " ".join(("relay", *path)))
def test_every_help_has_an_example_of_itself(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    example = result.stdout.split("Examples:\n")[1].split("\n\n")[0]
    assert " ".join(("relay", *path)) in example


def test_wrong_use_is_2() -> None:
    assert invoke("chekc").exit_code == 2
    assert invoke("check", "--nope").exit_code == 2
    assert invoke("events", "list", "--limit", "0").exit_code == 2
    assert invoke("events", "list", "--state", "lost").exit_code == 2
