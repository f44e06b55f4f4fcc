"""`relay check --schema`: the file against its JSON Schema, in the words of relay.yaml."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from relay.config.proof import prove
from relay.errors import StartError

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "relay.yaml", *sorted((ROOT / "config" / "examples").glob("*.yaml"))]
SECRET = "whsec_geheim"


def proven(folder: Path, text: str) -> list[str]:
    """The problems, without the file."""
    file = folder / "relay.yaml"
    file.write_text(text)
    return [str(problem).removeprefix(f"{file}:") for problem in prove(file)]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_what_people_copy_is_as_the_schema_wants_it(file: Path) -> None:
    assert list(prove(file)) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("gatway: {}", "1: gatway: unknown key; did you mean `gateway`?"),
        ("\ngateway: {\n  max_inflight: 0}", "3: gateway.max_inflight: must be at least 1"),
        ("gateway: {max_body: 1Mb}", "1: gateway.max_body: is not written as it must be; write it like `1MiB` or"),
        ("store: mysql://x", "1: store: is not written as it must be; write it like `sqlite:///data/relay.db` or"),
        ("sources: {}", "1: sources: must not be empty"),
        ("sources: {a b: {}}", "1: sources.a b: is no name; use 1 to 64 letters"),
        (
            "sources: {d: {provider: dyt}}",
            "1: sources.d.provider: must be `dyte` or `realtimekit`; did you mean `dyte`?",
        ),
        ("sources: {d: {webhook_ids: x}}", "1: sources.d.webhook_ids: must be a list; write `[one, two]`"),
        ("sources: {d: {organizations: [12]}}", "1: sources.d.organizations[0]: must be a text; put it in quotes"),
        ("sinks:\n  a: {}", "2: sinks.a.type: is missing; add `type: kafka`"),
        (
            "sinks: {a: {type: flie}}",
            "1: sinks.a.type: must be `kafka`, `http`, `slack` or `file`; did you mean `file`?",
        ),
        ("sinks: {a: {type: http}}", "1: sinks.a.url: is missing; add `url: https://crm.example/hooks`"),
        ("sinks: {a: {type: file, path: x, url: y}}", "1: sinks.a.url: unknown key; known keys: `timeout`, "),
        ("sinks: {a: {type: file, path: x, order: up}}", "1: sinks.a.order: must be `meeting` or `none`"),
        ("sinks: {a: {type: file, path: x, enabled: 'yes'}}", "1: sinks.a.enabled: must be true or false"),
        (
            "sinks: {a: {type: file, path: x, timeout: 10}}",
            "1: sinks.a.timeout: is not written as it must be; write it",
        ),
        ("sinks: {a: {type: file, path: x, retry: {factor: 99}}}", "1: sinks.a.retry.factor: must be at most 10"),
        ("sinks: {a: {type: kafka, topic: x, bootstrap_servers: []}}", "1: sinks.a.bootstrap_servers: must not be"),
        ("sinks: {a: {type: slack, webhook_url: 12}}", "1: sinks.a.webhook_url: must be a text; put it in quotes"),
        (
            "sinks: {a: {type: http, url: 'https://x', secret: [a, 3]}}",
            "1: sinks.a.secret[1]: must be a text; put it in",
        ),
        ("routes:\n- to: [a]", "2: routes[0].name: is missing; add `name: everything`"),
        ("routes: {}", "1: routes: must be a list; write `[one, two]`"),
        ("- a", "1: must be a mapping; write `key: value` lines under it"),
        ("a: &x 1", "1: a: has an anchor (`&x`); remove it; there are no aliases"),
    ],
)
def test_typical_mistakes_have_their_line_key_and_mend(tmp_path: Path, text: str, problem: str) -> None:
    found = proven(tmp_path, text)
    assert len(found) == 1, found
    assert found[0].startswith(problem)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = proven(tmp_path, "gateway: {max_bdy: 1}\nsinks:\n  a: {type: file}\nroutes: [{name: 'a b', to: x}]\n")
    assert [line.partition(": ")[0] for line in found] == ["1", "3", "4", "4"]


def test_a_variable_may_stand_for_a_number(tmp_path: Path) -> None:
    assert proven(tmp_path, "gateway: {max_inflight: '${N}'}\nretention: {delivered: '${D:-7d}'}") == []


def test_no_value_is_repeated(tmp_path: Path) -> None:
    text = (
        f"sinks: {{a: {{type: http, url: [{SECRET}], secret: {{x: {SECRET}}}, headers: [{SECRET}]}}}}\nstore: {SECRET}"
    )
    found = proven(tmp_path, text)
    assert len(found) >= 4
    assert not any("geheim" in line for line in found)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    [problem] = prove(tmp_path / "none.yaml")
    assert problem.message == "does not exist"


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(StartError, match=r"pip install 'dyte-relay\[schema\]'"):
        prove(FILES[0])
