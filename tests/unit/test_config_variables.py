"""`${…}`: what is filled in, what cannot be, and that no value ever shows."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import field_validator

from relay.config import Report, check
from relay.config.document import START, Entry, parse
from relay.config.problems import Findings
from relay.config.reading import read
from relay.config.variables import MAX_FILE, Variables
from relay.options import Options, Secret
from relay.sinks.file import FileOptions

CANARY = "Canary-7f3a"


def check_text(folder: Path, text: str, env: Mapping[str, str]) -> Report:
    file = folder / "relay.yaml"
    file.write_text(text)
    return check(file, env)


def path_of(folder: Path, written: str, **env: str) -> str:
    """What a text with variables stands for."""
    report = check_text(folder, f"sinks: {{a: {{type: file, path: {written}}}}}", env)
    assert report.config is not None, report.errors
    sink = report.config.sinks["a"]
    assert sink.type == "file"
    return sink.path


def errors(folder: Path, text: str, **env: str) -> list[str]:
    return [str(problem).removeprefix(f"{folder}/") for problem in check_text(folder, text, env).errors]


@pytest.mark.parametrize(
    ("written", "filled"),
    [
        ('"${A}"', "one"),
        ('"x${A}y${A}z"', "xoneyonez"),
        ("'${UNSET:-two}'", "two"),
        ("'${EMPTY:-two}'", "two"),
        ("'${A:-two}'", "one"),
        ("'x${EMPTY}'", "x"),
        ("'${UNSET:-a:-b c}'", "a:-b c"),
        ("'$${A}'", "${A}"),
        ("'$$${A}'", "$${A}"),
        ("'$A {A} $'", "$A {A} $"),
        ("'${NESTED}'", "${A}"),
        ("'${YAML}'", "[1, 2]"),
    ],
)
def test_what_is_filled_in(tmp_path: Path, written: str, filled: str) -> None:
    assert path_of(tmp_path, written, A="one", EMPTY="", NESTED="${A}", YAML="[1, 2]") == filled


@pytest.mark.parametrize(
    ("written", "error"),
    [
        ("${UNSET}", "needs `UNSET`, which is not set; set it, or write `${UNSET:-default}`"),
        ("a${UNSET}", "needs `UNSET`, which is not set"),
        ("${A", "has a `${` without its `}`; write `${NAME}`"),
        ("${}", "has a `${…}` that is no variable"),
        ("${A B}", "has a `${…}` that is no variable"),
        ("${1A}", "has a `${…}` that is no variable"),
        ("${A-x}", "has a `${…}` that is no variable"),
        ("${A:?x}", "has a `${…}` that is no variable"),
        ("${UNSET:-${A}}", "has a variable inside a variable"),
        ("${file:}", "names a file that cannot be read (``)"),
        ("${file:missing}", "names a file that cannot be read (`missing`): No such file or directory"),
        ("${file:a\\0b}", "names a file by an impossible path"),
    ],
)
def test_what_cannot_be_filled_in(tmp_path: Path, written: str, error: str) -> None:
    found = errors(tmp_path, f'sinks:\n  a:\n    type: file\n    path: "{written}"\n', A="one")
    assert len(found) == 1
    assert found[0].startswith(f"relay.yaml:4: sinks.a.path: {error}")


@pytest.mark.parametrize(
    ("content", "filled"),
    [(b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b"x", "x"), (b" x ", " x "), ("ü".encode(), "ü")],
)
def test_a_file_is_filled_in_without_its_last_line_end(tmp_path: Path, content: bytes, filled: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert path_of(tmp_path, f"'${{file:{tmp_path}/secret}}'") == filled
    assert path_of(tmp_path, "'${file:secret}'") == filled  # relative to relay.yaml


def test_files_that_cannot_be_filled_in(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"x" * (MAX_FILE + 1))
    (tmp_path / "latin").write_bytes(b"\xfc")
    os.mkfifo(tmp_path / "pipe")
    text = "sources: {dyte: {organizations: ['${file:large}', '${file:latin}', '${file:pipe}', '${file:.}']}}"
    found = errors(tmp_path, text)
    assert [error.partition(": ")[2].partition(";")[0] for error in found] == [
        "sources.dyte.organizations[0]: names a file that cannot be read (`large`): it is larger than 64 KiB",
        "sources.dyte.organizations[1]: names a file that is not UTF-8 (`latin`)",
        "sources.dyte.organizations[2]: names a file that cannot be read (`pipe`): it is not a regular file",
        "sources.dyte.organizations[3]: names a file that cannot be read (`.`): it is not a regular file",
    ]


def test_a_little_file_with_many_variables_does_not_become_a_large_one(tmp_path: Path) -> None:
    found = errors(tmp_path, "x: '" + "${A}" * 100 + "'\n", A="a" * 60_000)
    assert any("longer than 4 MiB" in error for error in found)


def test_a_variable_that_is_not_utf8(tmp_path: Path) -> None:
    found = errors(tmp_path, "store: ${A}\n", A="\udcff")
    assert found == ["relay.yaml:1: store: is not Unicode text; write it, or its variable, in UTF-8"]


def test_numbers_and_truths_may_come_from_variables(tmp_path: Path) -> None:
    text = "gateway: {max_inflight: '${N}'}\nsinks: {a: {type: '${T}', path: x, enabled: '${B}', timeout: '${D}'}}\n"
    config = check_text(tmp_path, text, {"N": "7", "B": "false", "D": "5s", "T": "file"}).config
    assert config is not None
    assert (config.gateway.max_inflight, config.sinks["a"].enabled) == (7, False)


def test_a_variable_is_a_text_whatever_it_holds(tmp_path: Path) -> None:
    for text in ("null", "~", "true", "1.10", "{a: b}", "*x", "- a"):
        assert path_of(tmp_path, "'${A}'", A=text) == text


@pytest.mark.parametrize("text", ["null", "~", "no"])
def test_a_variable_without_quotes_is_a_text_too(tmp_path: Path, text: str) -> None:
    config = check_text(tmp_path, "sinks:\n  a:\n    type: file\n    path: ${A}\n", {"A": text}).config
    assert config is not None
    assert config.sinks["a"] == FileOptions(type="file", path=text)


def test_an_empty_variable_is_none_where_none_may_be(tmp_path: Path) -> None:
    config = check_text(
        tmp_path, "admin: {token: '${TOKEN:-}'}\nsources: {dyte: {public_key: '${KEY:-}'}}\n", {}
    ).config
    assert config is not None
    assert config.admin.token is None
    assert config.sources["dyte"].public_key == ()


def test_an_empty_variable_in_an_allow_list_lets_nobody_in(tmp_path: Path) -> None:
    found = errors(tmp_path, "sources: {dyte: {organizations: ['${ORG}']}}\n", ORG="")
    assert found == ["relay.yaml:1: sources.dyte.organizations[0]: must not be empty; look at `${ORG}`"]


EVERYWHERE = {
    "store": "store: ${C}",
    "retention": "retention: {delivered: '${C}', dead: '${C}'}",
    "gateway": "gateway: {listen: '${C}', max_body: '${C}', max_inflight: '${C}'}",
    "admin": "admin: {listen: '${C}', token: '${C}'}",
    "source": "sources: {dyte: {provider: '${C}', path: '${C}', public_key_url: '${C}', public_key: '${C}'}}",
    "source lists": "sources: {dyte: {public_key: ['${C}'], organizations: ['${C}'], replay_window: '${C}'}}",
    "two sources": "sources: {a: {path: '/${C}'}, b: {path: '/${C}'}}",
    "plain http": "sources: {a: {public_key_url: 'http://${C}.example/'}}",
    "sink type": "sinks: {a: {type: '${C}'}}",
    "sink": "sinks: {a: {type: file, path: x, timeout: '${C}', rate: '${C}', order: '${C}'}}",
    "projection": "sinks: {a: {type: file, path: x, select: '${C}[', redact: '${C}'}}",
    "retry": "sinks: {a: {type: file, path: x, retry: {base: '${C}', factor: '${C}', max_age: '${C}'}}}",
    "http": "sinks: {a: {type: http, url: '${C}', headers: {'x': '${C}\\n'}, secret: '${C}', allow_private: '${C}'}}",
    "http url": "sinks: {a: {type: http, url: 'http://${C}@${C}.example', headers: {x: \"${C}\\n\"}}}",
    "kafka": "sinks: {a: {type: kafka, bootstrap_servers: ['${C}'], topic: '${C} {x}', key: '${C}['}}",
    "kafka login": "sinks: {a: {type: kafka, bootstrap_servers: ['a:1'], topic: a, sasl_mechanism: '${C}'}}",
    "slack": "sinks: {a: {type: slack, webhook_url: '${C}', token: '${C}', channel: '${C}', text: '{{ ${C} '}}",
    "slack url": "sinks: {a: {type: slack, webhook_url: 'https://${C}', api_url: '${C}', text: '{% ${C} %}'}}",
    "route": "routes: [{name: '${C}!', to: ['${C}'], sources: ['${C}'], events: ['${C}'], where: '${C}['}]",
    "two routes": "routes: [{name: '${C}', to: []}, {name: '${C}', to: '${C}'}]",
    "unknown": "'${C}': '${C}'\nadmin: {x: '${C}'}",
}


@pytest.mark.parametrize("text", EVERYWHERE.values(), ids=EVERYWHERE.keys())
def test_what_was_filled_in_never_shows(tmp_path: Path, text: str) -> None:
    (tmp_path / "canary").write_text(CANARY)
    for variable in ("${C}", "${file:canary}"):
        report = check_text(tmp_path, text.replace("${C}", variable), {"C": CANARY})
        assert CANARY.lower() not in repr(report).lower()
        if report.config is None:
            assert CANARY.lower() not in "\n".join(map(str, report.errors)).lower()


LITERALS = {
    "store": "store: Canary-7f3a",
    "key": "sources: {dyte: {public_key: Canary-7f3a}}",
    "keys": "sources: {dyte: {public_key: [Canary-7f3a]}}",
    "webhook": "sinks: {a: {type: slack, webhook_url: 'Canary-7f3a'}}",
    "webhook path": "sinks: {a: {type: slack, webhook_url: 'http://x.example/Canary-7f3a'}}",
    "token": "sinks: {a: {type: slack, token: 'Canary-7f3a\\n'}}",
    "secret": "sinks: {a: {type: http, url: 'https://x', secret: [whsec_Canary-7f3a]}}",
    "header": 'sinks: {a: {type: http, url: "https://x", headers: {x: "Canary-7f3a\\n"}}}',
    "password": "sinks: {a: {type: kafka, topic: x, bootstrap_servers: [a:1], sasl_plain_password: Canary-7f3a}}",
    "unknown key": "admin: {tokn: Canary-7f3a}",
    "a list": "admin: {token: [Canary-7f3a]}",
    "broken": "admin: {token: Canary-7f3a: x}",
    "tag": "admin: {token: !Canary-7f3a x}",
}


@pytest.mark.parametrize("text", LITERALS.values(), ids=LITERALS.keys())
def test_a_secret_that_stands_in_the_file_never_shows_either(tmp_path: Path, text: str) -> None:
    report = check_text(tmp_path, text, {})
    assert report.errors
    assert "canary" not in repr(report).lower()


class Indiscreet(Options):
    """Validators that repeat what they were given."""

    open: str = ""
    secret: Secret | None = None
    secrets: tuple[Secret, ...] = ()
    broken: str = ""

    @field_validator("open")
    @classmethod
    def _repeat(cls, text: str) -> str:
        raise ValueError(f"{text!r} is wrong; do not write {text.upper()}")

    @field_validator("secret", "secrets")
    @classmethod
    def _tell(cls, given: Any) -> Any:
        secrets = given if isinstance(given, tuple) else (given,)
        raise ValueError(f"found {' '.join(secret.get_secret_value()[1:].upper() for secret in secrets)}")

    @field_validator("broken")
    @classmethod
    def _give_up(cls, text: str) -> str:
        raise RecursionError(text)


def told(text: str, **env: str) -> list[str]:
    """What is said of an Indiscreet part."""
    findings = Findings(file="relay.yaml")
    node = Variables(env=env, folder=Path(), findings=findings).fill(parse(text.encode(), findings))
    assert read(Entry(place=START, node=node), (), Indiscreet, findings) is None
    return [str(problem) for problem in findings.errors]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("open: Plain", "relay.yaml:1: open: 'Plain' is wrong; do not write PLAIN"),
        ("open: ${C}", "relay.yaml:1: open: is not valid; look at `${C}`"),
        ("open: a-${C}-b", "relay.yaml:1: open: is not valid; look at `${C}`"),
        ("open: ${S}", "relay.yaml:1: open: is not valid; look at `${S}`"),
        ("secret: Plain-text", "relay.yaml:1: secret: is not valid"),
        ("secret: ${C}", "relay.yaml:1: secret: is not valid; look at `${C}`"),
        ("secrets: [Plain-text, '${C:-x}']", "relay.yaml:1: secrets: is not valid; look at `${C}`"),
        ("broken: x", "relay.yaml:1: holds an expression that is nested too deeply"),
    ],
)
def test_what_validators_repeat_is_left_out(text: str, line: str) -> None:
    assert told(text, C=CANARY, S="pq") == [line]


def test_what_was_filled_in_does_not_show_in_a_report_of_a_valid_file_either(tmp_path: Path) -> None:
    report = check_text(tmp_path, "sinks: {a: {type: file, path: '${C}'}}\n", {"C": CANARY})
    assert report.config is not None
    assert CANARY not in repr(report)


def test_a_window_from_a_variable_is_not_repeated(tmp_path: Path) -> None:
    (found,) = errors(tmp_path, "sources: {dyte: {replay_window: '${W}'}}\n", W="29d")
    assert found.endswith("keep events at least as long")


def test_the_reason_is_told_of_a_secret_too_as_long_as_it_does_not_repeat_it(tmp_path: Path) -> None:
    assert errors(tmp_path, "store: sqlite://data.db\n")[0].startswith("relay.yaml:1: store: has too few slashes")
    found = errors(tmp_path, "sinks: {a: {type: http, url: 'https://x', secret: whsec_!}}\n")
    assert found[0].startswith("relay.yaml:1: sinks.a.secret: is no Standard Webhooks secret")
    found = errors(tmp_path, "gateway: {max_body: '${SIZE}'}\n", SIZE="1Mb")
    assert found == ["relay.yaml:1: gateway.max_body: is not a size; write it like 64KiB or 1MiB"]


@pytest.mark.parametrize(
    ("sink", "given", "told"),
    [
        ("{type: kafka, topic: x, bootstrap_servers: ['${C}']}", "kafka-1", "is not an address; write a list of host"),
        ("{type: kafka, topic: '${C}', bootstrap_servers: [a:1]}", "my topic", "is no topic name; use 1 to 249"),
        ("{type: kafka, topic: '${C}', bootstrap_servers: [a:1]}", "x{nothing}", "holds another name in braces; only"),
        ("{type: kafka, topic: '${C}', bootstrap_servers: [a:1]}", "x{", "is no topic name: its braces do not match"),
        ("{type: slack, webhook_url: '${C}'}", "hooks.slack.com/services/T/B/x", "is not an address; write it like"),
        (
            "{type: slack, webhook_url: '${C}', token: xoxb}",
            "https://hooks.slack.com/s/x",
            "webhook_url excludes token",
        ),
        ("{type: http, url: 'https://a.example', secret: '${C}'}", "secret", "is no Standard Webhooks secret: write"),
        ("{type: file, path: x, select: '${C}'}", "expression =", "is not a JMESPath expression that can be used"),
    ],
)
def test_what_a_variable_holds_is_told_to_be_wrong_in_words_that_help(
    tmp_path: Path, sink: str, given: str, told: str
) -> None:
    """Though the whole message cannot be told: it holds what the variable does, or looks like it."""
    [error] = errors(tmp_path, f"sinks: {{a: {sink}}}", C=given)
    assert told in error
    assert f"'{given}'" not in error


@pytest.mark.parametrize(
    ("sink", "told"),
    [
        ("{type: file, path: '${EMPTY}'}", "path: must not be empty"),
        ("{type: file, path: x, timeout: 0s}", "timeout: must be more than 0"),
    ],
)
def test_nothing_is_no_path_and_no_time(tmp_path: Path, sink: str, told: str) -> None:
    [error] = errors(tmp_path, f"sinks: {{a: {sink}}}", EMPTY="")
    assert told in error
