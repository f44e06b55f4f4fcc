"""What the documentation shows is true: recipes, references, commands, what consumers are told to write."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
import yaml
from click.testing import CliRunner

from docs.consuming import consumer
from docs.consuming.verify import is_genuine
from docs.generate import PARTS, configuration, filled, metrics
from docs.generate.alerts import rules
from docs.generate.commands import every as every_command
from docs.generate.recipes import PAGES
from relay.cli import main
from relay.gateway.answers import Outcome
from relay.gateway.options import GatewayOptions
from relay.simulator import example
from relay.standard_webhooks import read_secret, sign
from relay.telemetry import Telemetry
from tests.unit.test_config_files import SECRET, checked

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES_OF_ALL = sorted(file for file in DOCS.rglob("*.md") if "decisions" not in file.parts)
RECIPES = sorted(file.parent for file in (DOCS / "cookbook" / "recipes").glob("*/relay.yaml"))
RECIPE = pytest.mark.parametrize("folder", [*RECIPES, DOCS / "quick-start"], ids=lambda folder: folder.name)
BODY = orjson.dumps(example("recording.statusUpdate"))


@RECIPE
def test_a_recipe_has_neither_errors_nor_warnings(tmp_path: Path, folder: Path) -> None:
    report = checked(tmp_path, (folder / "relay.yaml").read_text("utf-8"))
    assert (report.errors, report.warnings) == ((), ())


@RECIPE
def test_a_recipe_passes_its_tests(folder: Path) -> None:
    ended = CliRunner().invoke(main, ["test", "-c", str(folder / "relay.yaml")])
    assert ended.exit_code == 0, ended.output
    assert "all passed" in ended.output


def test_each_recipe_is_on_a_page_with_its_tests() -> None:
    shown = "".join((DOCS / "cookbook" / f"{name}.md").read_text("utf-8") for name in PAGES)
    assert len(RECIPES) >= 15
    for folder in RECIPES:
        for name in ("relay.yaml", "relay.test.yaml"):
            assert shown.count(f'--8<-- "docs/cookbook/recipes/{folder.name}/{name}"') == 1, folder.name


def test_each_key_of_the_schema_has_its_place_and_says_what_it_does() -> None:
    page = "".join(configuration.section(name) for name in configuration.names())
    anchors = re.findall(r"^### `(.+)` \{ #(\S+) \}$", page, re.MULTILINE)
    assert len({anchor for _, anchor in anchors}) == len(anchors)
    keys = {key for model in configuration.schema()["$defs"].values() for key in model.get("properties", {})}
    keys |= configuration.schema()["properties"].keys()
    assert {key for key, _ in anchors} == keys - {"type"}
    for entry in re.split(r"^### ", page, flags=re.MULTILINE)[1:]:
        assert len([part for part in entry.split("\n\n") if part.strip()]) >= 3, entry


def test_each_section_of_the_schema_is_asked_for() -> None:
    page = (DOCS / "reference" / "configuration.md").read_text("utf-8")
    assert re.findall(r"<!-- made: configuration (\w+) -->", page) != []
    assert set(re.findall(r"<!-- made: configuration (\w+) -->", page)) == set(configuration.names())


def test_a_default_is_written_as_in_relay_yaml() -> None:
    assert "### `max_body` { #gateway.max_body }\n\nsize · default `1MiB`" in configuration.section("gateway")
    assert "rate · default `1/s`" in configuration.section("slack")
    assert "`meeting`, `session`, `none` or text · default `meeting`" in configuration.section("kafka")
    assert "### `url` { #http.url }\n\ntext · **required**" in configuration.section("http")
    assert "a secret text · optional" in configuration.section("admin")


def test_each_metric_is_listed_with_its_labels() -> None:
    listed = {name: labels for name, _, labels, _ in metrics.rows()}
    known = {
        f"{family.name}_total" if family.type == "counter" else family.name for family in Telemetry().registry.collect()
    }
    assert {name.strip("`") for name in listed} == known
    assert listed["`relay_dead_total`"] == "`sink`, `reason`"
    assert "`refused`" in metrics.labels()


def test_each_alert_is_told_what_to_do_about() -> None:
    page = (DOCS / "operating" / "alerts.md").read_text("utf-8")
    told = re.findall(r"^### (\w+)\n\n<!-- made: alert (\w+) -->\n\n(\S)", page, re.MULTILINE)
    assert [heading for heading, _, _ in told] == [name for _, name, _ in told]
    assert {name for _, name, _ in told} == rules().keys()
    assert "{{" not in filled(page)


def test_each_answer_to_the_sender_is_told() -> None:
    page = (DOCS / "reference" / "answers.md").read_text("utf-8")
    told = {outcome for row in re.findall(r"^\|.*\| (`\w+`) \|$", page, re.MULTILINE) for outcome in [row.strip("`")]}
    assert told == {*Outcome, "malformed"}


def test_each_command_is_listed() -> None:
    page = every_command()
    assert "## relay serve\n" in page
    assert "## relay sinks pause\n" in page
    assert page.count("\n```text\n") == page.count("## relay ")


@pytest.mark.parametrize("name", ["commands", "decisions", "events", "examples", "labels", "metrics", "recipes"])
def test_a_part_is_made_where_a_page_asks_for_it(name: str) -> None:
    page = filled(f"before\n\n<!-- made: {name} -->\n\nafter")
    assert page == f"before\n\n{PARTS[name]('')}\n\nafter"
    assert len(page) > 300


def test_what_check_says_is_shown_as_it_says_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DYTE_ORGANIZATION", "SLACK_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    Path("relay.yaml").write_bytes((DOCS / "reference" / "wrong.yaml").read_bytes())
    ended = CliRunner().invoke(main, ["check"])
    assert ended.exit_code == 2
    assert ended.stderr == (DOCS / "reference" / "check.txt").read_text("utf-8")


def test_what_the_tests_say_is_shown_as_they_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(DOCS / "quick-start")
    assert CliRunner().invoke(main, ["test"]).output == Path("test.txt").read_text("utf-8")


_SHOWN = re.compile(r"^(?: *|.*\$\(|.*/bin/)relay ([a-z].*)$|`relay ([a-z][^`\n]*)`", re.MULTILINE)


def shown_commands() -> Iterator[tuple[str, list[str]]]:
    """Every line and every piece of code of a page that runs the relay, with its words, up to a pipe or the like."""
    for page in PAGES_OF_ALL:
        for line, inline in _SHOWN.findall(page.read_text("utf-8")):
            yield page.name, re.split(r"\s[|&#;>…]|\)", line or inline)[0].split()


def test_commands_that_are_shown_exist_with_their_options() -> None:
    shown = list(shown_commands())
    assert len(shown) >= 60
    for page, words in shown:
        command: click.Command = main
        while isinstance(command, click.Group) and words:
            assert words[0] in command.commands, (page, words)
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert given <= known | {"--help", "-h"}, (page, words)


def test_make_targets_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = re.compile(r"^ *make ([a-z-]+)", re.MULTILINE)
    shown = {name for page in PAGES_OF_ALL for name in made.findall(page.read_text("utf-8"))}
    assert shown
    assert shown <= targets


@pytest.mark.parametrize("page", PAGES_OF_ALL, ids=lambda page: str(page.relative_to(DOCS)))
def test_yaml_that_is_shown_can_be_read(page: Path) -> None:
    for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        if "--8<--" not in text:
            yaml.safe_load(text)


@pytest.mark.parametrize(("name", "replicas"), [("kubernetes.yaml", 1), ("kubernetes-nodes.yaml", 3)])
def test_the_manifest_for_kubernetes_fits_the_image(name: str, replicas: int) -> None:
    manifest, *others = yaml.safe_load_all((DOCS / "operating" / name).read_text("utf-8"))
    pod = manifest["spec"]["template"]["spec"]
    assert all(manifest["spec"]["selector"]["matchLabels"].items() <= _selected(other).items() for other in others)
    (container,) = pod["containers"]
    image = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"USER {pod['securityContext']['runAsUser']}:" in image
    assert f"EXPOSE {' '.join(str(port['containerPort']) for port in container['ports'])}" in image
    assert orjson.dumps(container["args"][:2]).decode()[1:-1].replace(",", ", ") in image
    assert {mount["name"] for mount in container["volumeMounts"]} == {
        *(volume["name"] for volume in pod["volumes"]),
        *(claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])),
    }
    assert manifest["spec"]["replicas"] == replicas
    assert ("volumeClaimTemplates" in manifest["spec"]) == (replicas == 1), "a file is one relay's"


def _selected(part: dict[str, Any]) -> dict[str, str]:
    """The labels that a Service or a PodDisruptionBudget asks for."""
    selector: dict[str, Any] = part["spec"]["selector"]
    labels: dict[str, str] = selector.get("matchLabels", selector)
    return labels


def test_the_proxy_lets_in_more_than_the_relay_takes() -> None:
    (limit,) = re.findall(r"client_max_body_size (\d+)m;", (DOCS / "operating" / "nginx.conf").read_text("utf-8"))
    assert int(limit) * 1024**2 > GatewayOptions().max_body


def test_the_consumer_handles_each_event_once_and_puts_aside_what_it_cannot_read() -> None:
    book = consumer.open_book(":memory:")
    handled = [consumer.handle(book, "1", BODY), consumer.handle(book, "1", BODY), consumer.handle(book, "2", b"[]")]
    assert handled == [True, False, True]
    assert book.execute("SELECT * FROM recording").fetchall() == [
        ("97cb480d-5840-4528-ace3-919b5e386c68", "50c8940e-1b97-402a-97d6-2708b7feca41", 2_044_680)
    ]
    assert book.execute("SELECT id, body FROM unread").fetchall() == [("2", b"[]")]


@pytest.mark.parametrize(
    ("body", "age", "secret", "expected"),
    [
        (BODY, 5, SECRET, True),
        (BODY + b" ", 5, SECRET, False),
        (BODY, 1000, SECRET, False),
        (BODY, 5, "whsec_" + "B" * 40, False),
    ],
    ids=["as it was signed", "changed", "old", "of somebody else"],
)
def test_the_receiver_knows_a_request_of_the_relay(*, body: bytes, age: int, secret: str, expected: bool) -> None:
    then = int(time.time()) - age
    keys = [read_secret("whsec_" + "C" * 40), read_secret(secret)]
    signature = sign(keys, message_id="id", timestamp=then, body=BODY)
    headers = {"webhook-id": "id", "webhook-timestamp": str(then), "webhook-signature": signature}
    assert is_genuine(SECRET, headers, body) is expected
    assert not is_genuine(SECRET, {}, body)
