"""Whatever is in the file, a check ends with a report: nothing raised, nothing shown that was filled in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from relay.config import Report, check
from relay.config.schema import schema
from tests.effort import effort

CANARY = "Qx7ZkW9v"
QUICK = settings(max_examples=effort(80), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

_SCHEMA = schema()
KEYS = sorted(
    {name for node in (_SCHEMA, *_SCHEMA["$defs"].values()) for name in node.get("properties", {})}
    | {"dyte", "crm", "authorization", "nonsense"}
)
# fmt: off
SCALARS = [
    "kafka", "http", "slack", "file", "true", "false", "no", "null", "~", "0", "1", "-1", "1e3", "1.10", "0x10",
    "10s", "5m", "1MiB", "50/s", "meeting", "none", "*", "recording.*", "-", "/", "/x", "sqlite:///a.db",
    "https://crm.example/", "http://127.0.0.1:1/", "localhost:9092", "127.0.0.1:8080", "[::1]:1", "dyte", "crm",
    "recording.status==", "a[", "`x", "{{x}}", "{%x", "whsec_x", "", "\n", "\0", "é",
    "${C}", "${C}${C}", "x${C}y", "${NOT_SET}", "${D:-5s}", "${", "$${C}", "${file:none}", "https://${C}/", "${C}[",
]
# fmt: on

scalars = st.sampled_from(SCALARS) | st.text(max_size=8)
keys = st.sampled_from(KEYS) | st.text(max_size=3)
trees = st.recursive(
    scalars | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=25,
)
sections = st.fixed_dictionaries(
    {},
    optional={
        "store": scalars,
        "gateway": st.dictionaries(keys, trees, max_size=3),
        "admin": st.dictionaries(keys, trees, max_size=3),
        "retention": st.dictionaries(st.sampled_from(("delivered", "dead")), scalars),
        "sources": st.dictionaries(keys, st.dictionaries(keys, trees, max_size=4), max_size=3),
        "sinks": st.dictionaries(
            keys,
            st.fixed_dictionaries({"type": st.sampled_from(("kafka", "http", "slack", "file", "x"))}).flatmap(
                lambda kind: st.dictionaries(keys, trees, max_size=6).map(lambda rest: rest | kind)
            ),
            max_size=3,
        ),
        "routes": st.lists(st.dictionaries(keys, trees, max_size=5), max_size=3),
    },
)
pieces = st.lists(
    st.sampled_from([*KEYS, *SCALARS, ": ", ":\n", "\n", "\n  ", "\n    ", "- ", "[", "]", "{", "}", ",", "#", "\t"])
    | st.sampled_from(
        ["&a ", "*a", "!!str ", "<<: *a", "---\n", "...\n", "|\n", ">\n", "'", '"', "\\", "? ", "%YAML 1.2\n"]
    ),
    max_size=40,
).map("".join)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def report_on(folder: Path, data: bytes) -> Report:
    """The report, after what holds for every one."""
    file = folder / "relay.yaml"
    file.write_bytes(data)
    report = check(file, {"C": CANARY})
    assert (report.config is None) == bool(report.errors)
    lines = len(data.decode(errors="replace").splitlines()) + 1
    for problem in (*report.errors, *report.warnings):
        assert 0 <= problem.line <= lines
        assert len(str(problem).splitlines()) == 1
        assert str(problem).isprintable()
        assert CANARY.lower() not in str(problem).lower()
    return report


@QUICK
@given(data=st.binary(max_size=200))
@example(data=b"\xff")
@example(data=b"a: \x00")
@example(data=b'"\\UFFFFFFFF"')
def test_any_bytes(folder: Path, data: bytes) -> None:
    report_on(folder, data)


@QUICK
@given(text=st.text(max_size=200) | pieces)
def test_any_text(folder: Path, text: str) -> None:
    report_on(folder, text.encode(errors="replace"))


@QUICK
@given(tree=sections | trees)
@example(tree={"routes": [{"where": "\x00"}]})
@example(tree={"routes": [{"where": "a\x1cb\u2028c"}]})
def test_any_tree(folder: Path, tree: Any) -> None:
    report_on(folder, yaml.safe_dump(tree, allow_unicode=True).encode(errors="replace"))


@QUICK
@given(tree=sections, cut=st.integers(min_value=0))
def test_any_file_that_ends_too_early(folder: Path, tree: Any, cut: int) -> None:
    data = yaml.safe_dump(tree, allow_unicode=True, default_flow_style=bool(cut % 2)).encode(errors="replace")
    report_on(folder, data[: cut % (len(data) + 1)])
