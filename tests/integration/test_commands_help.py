"""What holds for every command: its help, `--json`, colours, words for slips, and completion in a shell."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from rich.color import ColorSystem

from relay.cli import main
from relay.commands import consoles
from relay.commands.helping import sentence
from tests.running import write_config

WITHOUT_JSON = {
    "serve": "it runs, and logs JSON",
    "demo": "it is a show for people",
    "schema": "what it prints is JSON",
    "completion": "what it prints is a script",
}


def invoke(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env=env)


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from walk(inner, (*path, name))


COMMANDS = dict(walk(main))
LEAVES = {path: command for path, command in COMMANDS.items() if not isinstance(command, click.Group)}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_help_fits_and_tells_whole_sentences(path: tuple[str, ...]) -> None:
    result = invoke(*path, "--help")
    assert result.exit_code == 0
    assert "Examples:\n" in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    assert not re.search(r"[a-z]\.\.\.$", result.stdout, re.MULTILINE), "a sentence was cut"


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_that_answers_has_json_and_no_color(path: tuple[str, ...]) -> None:
    options = {option for parameter in LEAVES[path].params for option in parameter.opts}
    assert "--no-color" in options
    assert ("--json" in options) is not (" ".join(path) in WITHOUT_JSON)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_what_names_something_in_the_file_can_be_completed(path: tuple[str, ...]) -> None:
    for parameter in LEAVES[path].params:
        if {"--type", "--sink", "--source", "--route"} & set(parameter.opts):
            assert parameter._custom_shell_complete is not None, parameter.opts


def test_every_command_stands_under_a_heading() -> None:
    help_text = invoke("--help").stdout
    headings = re.findall(r"^(\S.*):$", help_text, re.MULTILINE)
    assert headings == ["Options", "Run", "Configure", "See and mend", "For your tools"]
    for name in main.commands:
        assert re.search(rf"^  {name} +\S", help_text, re.MULTILINE), name


def test_a_command_without_a_heading_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "commands", dict(main.commands))
    main.add_command(click.Command("novel", help="Do something new. And more."))
    assert re.search(r"^More:\n  novel +Do something new$", invoke("--help").stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Do it.", "Do it"),
        ("Do it. Or not.", "Do it"),
        ("Do it, all at\n    once.\n\n    Tomorrow.", "Do it, all at once"),
        (f"Do it: {'x' * 60}.", "Do it"),
        (f"Do this and that, or {'x' * 60}.", "Do this and that"),
        ("x" * 70, "x" * 70),
    ],
)
def test_a_long_sentence_is_told_as_far_as_it_stands_alone(text: str, told: str) -> None:
    assert sentence(text) == told


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("chekc",), "Did you mean 'check'?"),
        (("events", "lst"), "Did you mean 'list'?"),
        (("events", "list", "--jsn"), "Did you mean '--json'?"),
        (("events", "show"), "Missing argument 'EVENT_ID'"),
        (("events", "list", "--state", "lost"), "is not one of 'routed', 'unrouted', 'quarantined'"),
        (("check", "-c", "none.yaml"), "none.yaml: does not exist; name the file with -c"),
        (("serve", "-c", "none.yaml"), "none.yaml: does not exist; name the file with -c"),
        (("check", "-c", "."), ".: cannot be read: Is a directory; check the path and who may read it"),
        (("replay", "--sink", "crm", "--since", "soon"), "or how long ago: 30m, 2h, 7d"),
        (("replay", "--sink", "crm", "--rate", "fast"), "write it like 1/s or 300/m; or none"),
        (("replay",), "or say --all"),
        (("tail", "--for", "5"), "write it like 500ms, 10s, 5m, 2h or 7d"),
        (("sinks", "pause"), "name the sinks, or say --all"),
        (("simulate", "--url", "nowhere"), "write an address such as http://127.0.0.1:8080/webhooks/dyte"),
        (("completion", "tcsh"), "is not one of 'bash', 'zsh', 'fish'"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, tuple) else "",
)
def test_a_slip_is_answered_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    "words",
    [
        "events list",
        "events show x",
        "deliveries list",
        "why x",
        "tail",
        "replay --sink audit",
        "replay --sink audit --reroute",
        "sinks list",
        "sinks pause audit",
        "sinks resume --all",
    ],
)
def test_without_a_store_every_command_says_who_makes_it(tmp_path: Path, words: str) -> None:
    result = invoke(*words.split(), "-c", str(write_config(tmp_path)))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"store: there is no {tmp_path}/relay.db yet; `relay serve` creates it\n"


@pytest.mark.parametrize("where", ["before", "behind", "environment"])
def test_colours_can_be_turned_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    broken = str(write_config(tmp_path, routes=[{"name": "a", "to": ["nobody"]}]))
    monkeypatch.setattr(consoles.err, "_force_terminal", True)
    monkeypatch.setattr(consoles.err, "_color_system", ColorSystem.STANDARD)
    red = "\x1b[31m"
    assert red in invoke("check", "-c", broken).stderr
    before, behind = (["--no-color"] if where == place else [] for place in ("before", "behind"))
    env = {"NO_COLOR": "1"} if where == "environment" else {}
    assert red not in invoke(*before, "check", *behind, "-c", broken, env=env).stderr
    assert red in invoke("check", "-c", broken).stderr, "the next one has them again"


# Completion


def completed(line: str, kind: str = "bash") -> list[str]:
    """What the shell is told where the cursor stands at the end of this line, by click's protocol."""
    words = line.split(" ")
    env = {"_RELAY_COMPLETE": f"{kind}_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(main, [], prog_name="relay", env=env)
    assert result.exit_code == 0, result.output
    return [text.partition(",")[2] for text in result.stdout.splitlines() if text]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration that cannot be loaded here: a secret is not set."""
    path = tmp_path / "relay.yaml"
    path.write_text(
        "sources: {dyte: {}, realtimekit: {provider: realtimekit}}\n"
        "sinks:\n"
        "  crm: {type: http, url: 'https://crm.example', secret: '${UNSET_SECRET}'}\n"
        "  calls: {type: file, path: '-'}\n"
        '  "odd\\e[31m": {type: file, path: x}\n'
        "routes:\n"
        "- {name: everything, to: [crm]}\n"
        "- {name: ends, to: ['${UNSET_SINK}']}\n"
    )
    return path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("replay --sink ", ["crm", "calls"]),
        ("replay --sink cr", ["crm"]),
        ("replay --route e", ["everything", "ends"]),
        ("replay --source ", ["dyte", "realtimekit"]),
        ("deliveries list --sink ca", ["calls"]),
        ("tail --sink c", ["crm", "calls"]),
        ("events list --type recording", ["recording.*", "recording.statusUpdate"]),
        ("sinks pause ", ["crm", "calls"]),
        ("sinks resume crm c", ["calls"]),
    ],
)
def test_names_come_from_the_file_and_need_no_secret(file: Path, words: str, expected: list[str]) -> None:
    command, option = words.rsplit(" ", 1)
    first, _, rest = command.partition(" --")
    line = f"relay {first} -c {file}" + (f" --{rest}" if rest else "") + f" {option}"
    assert completed(line) == expected


def test_a_pause_completes_what_is_not_named_yet(file: Path) -> None:
    assert completed(f"relay sinks pause -c {file} crm ") == ["calls"]


def test_commands_and_options_are_completed() -> None:
    assert completed("relay ch") == ["check"]
    assert completed("relay sinks ") == ["list", "pause", "resume"]
    assert completed("relay events list --st") == ["--state"]
    assert completed("relay events list --state un") == ["unrouted"]


@pytest.mark.parametrize("text", ["sinks: [", "7", "\0"])
def test_a_file_that_is_none_completes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "relay.yaml").write_text(text)
    assert completed(f"relay replay -c {tmp_path}/relay.yaml --sink ") == []
    assert completed(f"relay replay -c {tmp_path}/none.yaml --sink ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(shell: str) -> None:
    script = invoke("completion", shell).stdout
    assert f"_RELAY_COMPLETE={shell}_complete" in script
    assert "relay" in script.splitlines()[0] + script.splitlines()[-1]


def test_the_version_needs_no_configuration_to_be_known() -> None:
    told = "import sys; from relay.cli import main; print(*sorted(each for each in sys.modules if 'relay' in each))"
    loaded = subprocess.run([sys.executable, "-c", told], check=True, capture_output=True, text=True, timeout=60).stdout
    assert "relay.commands.helping" in loaded
    assert "relay.config" not in loaded.split(), "reading it took most of a second"


@pytest.mark.parametrize("words", ["schema", "catalog"])
def test_output_that_finds_no_place_is_told_in_a_line(words: str) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "relay", *words.split()]
        ended = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr == "cannot write all of the output: No space left on device\n"
