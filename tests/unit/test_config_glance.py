"""What can be said of a relay.yaml without its secrets, or in spite of its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from relay.config import Glance, SinkKind, glance

WHOLE = """\
sinks:
  crm: {type: http, url: "${CRM_URL}", enabled: false}
  log: {type: file, path: "-"}
routes:
  - {name: a, events: ["x.*"], to: [crm]}
  - {name: b, fallback: true, to: [log]}
"""


def seen(folder: Path, text: str, **env: str) -> Glance:
    file = folder / "relay.yaml"
    file.write_text(text, "utf-8")
    return glance(file, env)


def test_a_file_without_mistakes_is_known_whole(tmp_path: Path) -> None:
    found = seen(tmp_path, WHOLE, CRM_URL="https://crm.example")
    assert found.config is not None
    assert (found.routes, found.problems) == (list(found.config.routes), ())


def test_routes_and_kinds_of_sinks_need_no_secret(tmp_path: Path) -> None:
    found = seen(tmp_path, WHOLE)
    assert found.config is None
    assert found.routes is not None
    assert [route.name for route in found.routes] == ["a", "b"]
    assert found.sinks == {"crm": SinkKind(type="http", enabled=False), "log": SinkKind(type="file", enabled=True)}
    assert [problem.key for problem in found.problems] == ["sinks.crm.url"]


@pytest.mark.parametrize("off", ["false", "False", "FALSE", '"${OFF}"'])
def test_what_is_disabled_is_known_however_it_is_written(tmp_path: Path, off: str) -> None:
    found = seen(tmp_path, WHOLE.replace("enabled: false", f"enabled: {off}"), OFF="false")
    assert found.sinks is not None
    assert not found.sinks["crm"].enabled


@pytest.mark.parametrize("routes", ["7", "[{name: a}]", "[{name: a, to: [crm], evnts: [x]}]", "[7]"])
def test_routes_with_mistakes_are_not_known_but_sinks_are(tmp_path: Path, routes: str) -> None:
    found = seen(tmp_path, f"sinks: {{log: {{type: file}}}}\nroutes: {routes}\n")
    assert found.routes is None
    assert found.sinks == {"log": SinkKind(type="file", enabled=True)}
    assert found.problems


@pytest.mark.parametrize("text", ["", "[", "7", "sinks: {}\nsinks: {}\n", "a: &b {}\nc: *b\n", "\x00"])
def test_a_file_that_cannot_be_read_tells_nothing_and_breaks_nothing(tmp_path: Path, text: str) -> None:
    found = seen(tmp_path, text)
    assert found.problems or found.config is not None
    assert glance(tmp_path / "nothing.yaml", {}).sinks is None


def test_sinks_that_are_no_mapping_are_not_known(tmp_path: Path) -> None:
    found = seen(tmp_path, "sinks: 7\n")
    assert found.sinks is None
    assert found.routes == []
