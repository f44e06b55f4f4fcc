"""README.md is true: its relay.yaml is accepted, and the commands that it names exist."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from relay.cli import main
from relay.config import check

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
SECRET = "whsec_" + "A" * 40


def test_its_configuration_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "relay.yaml"
    file.write_text(example, "utf-8")
    report = check(file, {"CRM_SECRET": SECRET, "SLACK_WEBHOOK_URL": "https://hooks.slack.example/services/T/B/X"})
    assert report.errors == ()
    assert report.config is not None
    assert len(report.config.routes) == 2


def test_its_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"make ([a-z-]+)", README))
    assert named
    assert named <= targets


@pytest.mark.parametrize("line", sorted(set(re.findall(r"^relay ([a-z ]+)", README, re.MULTILINE))))
def test_its_commands_exist(line: str) -> None:
    name, *rest = line.split()
    command = main.commands[name]
    if rest and isinstance(command, click.Group):
        assert rest[0] in command.commands


def test_the_files_that_it_links_to_exist() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
