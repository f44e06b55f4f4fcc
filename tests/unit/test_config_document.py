"""YAML as relay.yaml has it: what is refused, where, and that the rest is still read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from relay.config import Report, check
from relay.config.document import MAX_BYTES, MAX_DEPTH

SINK = "sinks:\n  log: {type: file, path: '-'}\nroutes:\n  - {name: all, to: [log]}\n"


def check_bytes(folder: Path, data: bytes) -> Report:
    file = folder / "relay.yaml"
    file.write_bytes(data)
    return check(file, {})


def errors(folder: Path, text: str) -> list[str]:
    """Without the folder: `relay.yaml:14: …`."""
    return [str(problem).removeprefix(f"{folder}/") for problem in check_bytes(folder, text.encode()).errors]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("store: &db sqlite:///a.db", "relay.yaml:5: store: has an anchor (`&db`); remove it; there are no aliases"),
        ("gateway: &g {max_inflight: 5}", "relay.yaml:5: gateway: has an anchor (`&g`)"),
        ("store: *db", "relay.yaml:5: store: uses an alias (`*db`); write the value out"),
        ("store: !!str sqlite:///a.db", "relay.yaml:5: store: has a tag (`!…`); remove it, or quote the text"),
        ("store: ! 'sqlite:///a.db'", "relay.yaml:5: store: has a tag"),
        ("gateway: {<<: {max_inflight: 5}}", "relay.yaml:5: gateway: uses a merge key (`<<`); write the keys out"),
        ("routes: []", "relay.yaml:5: routes: is given twice, first in line 3; keep one of them"),
        ("? [a, b]\n: c", "relay.yaml:5: has a key that is no text; write `key: value`"),
        ("--- \nstore: sqlite:///b.db", "relay.yaml:5: starts a second document; remove the `---`"),
        ("gateway:\n\tlisten: x", "relay.yaml:6: has a tab where YAML wants spaces; indent with spaces"),
        ("store: a: b", "relay.yaml:5: has a `:` where no key can be; put the value in quotes"),
        ("store: 'a", "has a quote that never ends; close it"),
        ("admin: [1, 2", "has a `[` list that never ends"),
        ("admin: {listen: a", "has a `{` mapping that never ends"),
        ("admin: {listen: ${X}}", "relay.yaml:5: has a `${…}` inside `[…]` or `{…}`; put the value in quotes"),
        ("store: @x", "relay.yaml:5: has a value that starts with a reserved character; put the value in quotes"),
        ('store: "a\\qb"', "relay.yaml:5: has an unknown `\\` escape in double quotes; use single quotes"),
        ("store: \x07", "relay.yaml:5: has a control character; remove it, or escape it in quotes"),
        ('store: "\\UFFFFFFFF"', "relay.yaml:5: is not YAML from here on; look for an odd `\\` escape"),
        ('store: "\\ud800"', "relay.yaml:5: store: is not Unicode text"),
        ("  store: x", "relay.yaml:5: "),
    ],
)
def test_what_yaml_may_do_and_relay_yaml_may_not(tmp_path: Path, line: str, error: str) -> None:
    found = errors(tmp_path, f"{SINK}{line}\n")
    assert len(found) == 1
    assert error in found[0]


def test_the_rest_of_the_file_is_checked_too(tmp_path: Path) -> None:
    found = errors(tmp_path, "store: *db\ngateway: &g\n  max_inflight: 0\n  max_inflight: 5\nsink: {}\n" + SINK)
    assert [error.split(": ")[1] for error in found] == [
        "store",
        "gateway",
        "gateway.max_inflight",
        "gateway.max_inflight",
        "sink",
    ]


def test_what_stands_before_a_syntax_error_is_checked_and_nothing_is_called_missing(tmp_path: Path) -> None:
    text = "gateway: {max_inflight: 0}\nsinks:\n  crm:\n    type: http\n    timeout: soon\n    order: none\n\turl: x\n"
    assert errors(tmp_path, text) == [
        "relay.yaml:1: gateway.max_inflight: must be at least 1",
        "relay.yaml:5: sinks.crm.timeout: 'soon' is not a duration; write it like 500ms, 10s, 5m, 2h or 7d",
        "relay.yaml:7: has a tab where YAML wants spaces; indent with spaces",
    ]


def test_names_after_a_syntax_error_are_not_called_unknown(tmp_path: Path) -> None:
    found = errors(
        tmp_path, "routes:\n  - {name: all, to: [log]}\nsinks:\n  first: {type: file, path: x}\n\t\n  log: x\n"
    )
    assert len(found) == 1
    assert "tab" in found[0]


def test_sinks_are_not_called_unused_where_the_routes_cannot_be_read(tmp_path: Path) -> None:
    sinks = "sinks: {log: {type: file, path: x}, other: {type: file, path: y}}\n"
    for routes in ("routes:\n- {name: a, to: [log]}\n\t\n", "routes: [{name: a, to: [log", "routes: *x", "routes: 5"):
        report = check_bytes(tmp_path, (sinks + routes).encode())
        assert report.errors
        assert report.warnings == ()


def test_an_unknown_key_is_told_though_its_value_is_refused(tmp_path: Path) -> None:
    found = errors(tmp_path, "admin: {tokn: *x}\n")
    assert sorted(found) == [
        "relay.yaml:1: admin.tokn: unknown key; did you mean `token`?",
        "relay.yaml:1: admin.tokn: uses an alias (`*x`); write the value out",
    ]
    assert "unknown key" in errors(tmp_path, "admin: {tokn: [x")[0]


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (problem,) = check_bytes(tmp_path, "a: 1\nstore: ü\n".encode("latin-1")).errors
    assert (problem.line, problem.message) == (2, "is not UTF-8")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert check_bytes(tmp_path, b"\xef\xbb\xbf" + SINK.encode()).errors == ()


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    (problem,) = check_bytes(tmp_path, b"#" * (MAX_BYTES + 1)).errors
    assert problem.message == "is larger than 256 KiB"
    assert check_bytes(tmp_path, b"#" * MAX_BYTES).errors == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "~\n", "{}\n"])
def test_an_empty_file_is_all_defaults(tmp_path: Path, text: str) -> None:
    report = check_bytes(tmp_path, text.encode())
    assert report.errors == ()
    assert report.config is not None
    assert list(report.config.sources) == ["dyte"]


@pytest.mark.parametrize("text", ["[a]\n", "text\n", "- a\n- b\n"])
def test_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    assert "relay.yaml:1: must be a mapping; start with `sinks:` and `routes:`" in errors(tmp_path, text)


def test_nesting_up_to_the_limit_and_past_it(tmp_path: Path) -> None:
    deep = f"x: {'[' * (MAX_DEPTH - 1)}{']' * (MAX_DEPTH - 1)}\n"
    assert errors(tmp_path, deep) == [error for error in errors(tmp_path, deep) if "unknown key" in error]
    too_deep = f"x: {'[' * MAX_DEPTH}{']' * MAX_DEPTH}\n"
    assert any("is nested deeper than 32" in error for error in errors(tmp_path, too_deep))


ALIASES = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(f"k{n}: &k{n} {{<<: [*a, *a], y: 1}}\n" for n in range(40))


@pytest.mark.parametrize(
    "bomb",
    [
        ALIASES,
        MERGES,
        "[" * (MAX_BYTES - 1),
        "{" * (MAX_BYTES - 1),
        "[[]," * (MAX_BYTES // 4 - 1),
        "- " * (MAX_BYTES // 2 - 1),
        "a: 1\n" * 20_000,
        "".join(f"key{number}: 1\n" for number in range(20_000)),
        "routes:\n" + "- {name: a, to: [b], events: [c]}\n" * 3_000,
        "sinks:\n" + "".join(f" s{n}: {{type: kafkaa}}\n" for n in range(5_000)),
    ],
    ids=["aliases", "merges", "lists", "mappings", "wide", "dashes", "twice", "unknown", "routes", "sinks"],
)
def test_a_bomb_is_refused_fast(tmp_path: Path, bomb: str) -> None:
    start = time.process_time()
    report = check_bytes(tmp_path, bomb.encode())
    assert report.errors
    assert len(report.errors) <= 501
    assert time.process_time() - start < 30  # seconds; one that goes off takes minutes, or all memory


def test_scalars_are_what_was_written(tmp_path: Path) -> None:
    text = (
        "sinks:\n  no: {type: file, path: no}\n  a: {type: file, path: 1.10}\n  b: {type: file, path: 12:30:00}\n"
        "  c: {type: file, path: 0123}\n  d: {type: file, path: true}\n  e: {type: file, path: 2001-01-01}\n"
    )
    config = check_bytes(tmp_path, text.encode()).config
    assert config is not None
    paths = [sink.path for sink in config.sinks.values() if sink.type == "file"]
    assert paths == ["no", "1.10", "12:30:00", "0123", "true", "2001-01-01"]


@pytest.mark.parametrize(("written", "read"), [("true", True), ("False", False), ('"true"', True), ("TRUE", True)])
def test_true_and_false(tmp_path: Path, written: str, read: bool) -> None:  # noqa: FBT001
    config = check_bytes(tmp_path, f"sinks: {{a: {{type: file, path: x, enabled: {written}}}}}".encode()).config
    assert config is not None
    assert config.sinks["a"].enabled is read


@pytest.mark.parametrize("written", ["yes", "no", "on", "off", "1", "0", "y"])
def test_other_words_are_neither_true_nor_false(tmp_path: Path, written: str) -> None:
    assert errors(tmp_path, f"sinks: {{a: {{type: file, path: x, enabled: {written}}}}}") == [
        "relay.yaml:1: sinks.a.enabled: must be true or false"
    ]


@pytest.mark.parametrize(("written", "read"), [("7", 7), ("0o17", 15), ("0x1F", 31), ("+7", 7), ('"7"', 7), ("007", 7)])
def test_whole_numbers(tmp_path: Path, written: str, read: int) -> None:
    config = check_bytes(tmp_path, f"gateway: {{max_inflight: {written}}}".encode()).config
    assert config is not None
    assert config.gateway.max_inflight == read


@pytest.mark.parametrize("written", ["1_000", "1.0", "1e3", "ten", "1:30", "٣", "9" * 5000])
def test_other_words_are_no_whole_numbers(tmp_path: Path, written: str) -> None:
    assert errors(tmp_path, f"gateway: {{max_inflight: {written}}}") == [
        "relay.yaml:1: gateway.max_inflight: must be a whole number"
    ]


@pytest.mark.parametrize("null", ["null", "~", "", "Null"])
def test_null_is_no_value_where_one_is_needed_and_none_where_it_may_be(tmp_path: Path, null: str) -> None:
    assert errors(tmp_path, f"store: {null}\n") == ["relay.yaml:1: store: has no value, and must be a text"]
    config = check_bytes(tmp_path, f"admin:\n  token: {null}\n".encode()).config
    assert config is not None
    assert config.admin.token is None
