"""The files that people copy are valid, the commented parts too, and the schema for editors is the models'."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jsonschema import Draft202012Validator

from relay.config import Config, Report, check
from relay.config.schema import models, schema, schema_text
from relay.vocabulary import KNOWN_TYPES

ROOT = Path(__file__).parents[2]
RELAY_YAML = ROOT / "relay.yaml"
SCHEMA = schema()
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
PEM = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
VALUES = (
    (r"PUBLIC_KEY", PEM),
    (r"SECRET", SECRET),
    (r"WEBHOOK_URL", "https://hooks.slack.com/services/T0/B0/x"),
    (r"BOT_TOKEN", "xoxb-1"),
    (r"CHANNEL", "C0123456789"),
    (r"BROKER|BOOTSTRAP", "kafka:9092"),
    (r"CRM_URL", "https://crm.example/hooks"),
    (r"", "0123456789abcdef0123456789abcdef"),
)


def value_of(name: str) -> str:
    """What a variable of an example may hold."""
    return next(text for pattern, text in VALUES if re.search(pattern, name.upper()))


def checked(folder: Path, text: str) -> Report:
    """Check a file with all the variables and secret files that it names."""
    for name in re.findall(r"\$\{file:/run/secrets/([^}]+)\}", text):
        (folder / name).write_text(f"{value_of(name)}\n")
    env = {name: value_of(name) for name in re.findall(r"\$\{([A-Z0-9_]+)\}", text)}
    file = folder / "relay.yaml"
    file.write_text(text.replace("/run/secrets/", f"{folder}/"))
    return check(file, env)


def uncommented(text: str) -> str:
    """With each `#` taken away that touches a setting: what follows is not one space and a word."""
    return re.sub(r"^( *)#(?! \S)", r"\1", text, flags=re.MULTILINE)


def test_relay_yaml_runs_as_it_is(tmp_path: Path) -> None:
    report = check(RELAY_YAML, {})
    assert (report.errors, report.warnings) == ((), ())
    assert report.config is not None
    assert report.config.gateway.listen == "127.0.0.1:8080"
    assert report.config.sources["dyte"].pinned == ()
    assert [sink.type for sink in report.config.sinks.values()] == ["file"]


def test_relay_yaml_is_valid_with_everything_uncommented(tmp_path: Path) -> None:
    text = uncommented(RELAY_YAML.read_text())
    report = checked(tmp_path, text)
    assert (report.errors, report.warnings) == ((), ())
    assert report.config is not None
    assert {sink.type for sink in report.config.sinks.values()} == {"file", "kafka", "http", "slack"}
    assert len(report.config.routes) == text.count("- name:") == 3
    assert report.config.sources["dyte"].organizations
    assert report.config.admin.token is not None


def test_relay_yaml_takes_its_addresses_and_key_from_the_environment() -> None:
    config = check(RELAY_YAML, {"RELAY_LISTEN": "[::1]:9000", "RELAY_DYTE_PUBLIC_KEY": PEM}).config
    assert config is not None
    assert config.gateway.listen == "[::1]:9000"
    assert len(config.sources["dyte"].pinned) == 1


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_an_example_has_neither_errors_nor_warnings(tmp_path: Path, file: Path) -> None:
    report = checked(tmp_path, file.read_text())
    assert (report.errors, report.warnings) == ((), ())
    assert report.config is not None


@pytest.mark.parametrize("file", [RELAY_YAML, *EXAMPLES], ids=lambda file: file.name)
def test_an_editor_finds_the_schema(file: Path) -> None:
    first, second = file.read_text().splitlines()[:2]
    path = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / path).resolve() == ROOT / "config" / "relay.schema.json"
    assert second == "#"


class CoreLoader(yaml.SafeLoader):
    """YAML 1.2 as editors read it: no `yes`, no dates, no sexagesimal numbers."""


CoreLoader.yaml_implicit_resolvers = {}
for tag, pattern, first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), list(first))


def red_lines(text: str) -> list[str]:
    """What an editor underlines."""
    data = yaml.load(text, Loader=CoreLoader)
    return [f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(data)]


def test_the_schema_is_the_one_of_the_models() -> None:
    assert (ROOT / "config" / "relay.schema.json").read_text() == schema_text(), "run: make schema"


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(schema_text())["title"] == "relay.yaml"


@pytest.mark.parametrize("file", [RELAY_YAML, *EXAMPLES], ids=lambda file: file.name)
def test_editors_are_content_with_what_the_relay_takes(file: Path) -> None:
    assert red_lines(file.read_text()) == []
    assert red_lines(uncommented(file.read_text())) == []


def keys(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key that the schema knows."""
    for name, inner in node.get("properties", {}).items():
        yield f"{path}.{name}", inner
    for name, inner in node.get("$defs", {}).items():
        yield from keys(inner, name)


KEYS = dict(keys(SCHEMA))
OBVIOUS = {"boolean", "integer", "number", "null"}


def is_obvious(node: Mapping[str, Any]) -> bool:
    """Whether how to write it needs no example: closed values, numbers, other keys."""
    if "$ref" in node:
        target = SCHEMA["$defs"][node["$ref"].rpartition("/")[2]]
        return node["$ref"].endswith("/Variable") or "properties" in target or is_obvious(target)
    if "anyOf" in node:
        return all(map(is_obvious, node["anyOf"]))
    return bool({"enum", "const", "patternProperties"} & node.keys()) or node.get("type") in OBVIOUS


@pytest.mark.parametrize("path", KEYS)
def test_every_key_is_explained(path: str) -> None:
    key = KEYS[path]
    assert key.get("description"), path
    assert key["description"] == key["description"].strip()
    assert key["markdownDescription"].startswith(key["description"])
    assert key["title"] == path.rpartition(".")[2]


@pytest.mark.parametrize("path", [path for path, key in KEYS.items() if path != ".routes" and not is_obvious(key)])
def test_a_key_whose_form_is_not_obvious_has_an_example_that_fits(path: str) -> None:
    examples = KEYS[path].get("examples", [])
    assert examples, path
    validator = Draft202012Validator({**KEYS[path], "$defs": SCHEMA["$defs"]})
    assert [example for example in examples if not validator.is_valid(example)] == []


def defaults() -> Iterator[tuple[str, str]]:
    """Every key that may be left out: the class and the name."""
    for model in models():
        for name, field in model.model_fields.items():
            if not field.is_required():
                yield "" if model is Config else model.__name__, name


@pytest.mark.parametrize(("model", "name"), list(defaults()))
def test_no_default_is_left_unsaid(model: str, name: str) -> None:
    key = KEYS[f"{model}.{name}"]
    assert "default" in key
    default = key["default"]
    if default not in (None, "", [], {}) and not isinstance(default, dict):
        assert "Default: `" in key["markdownDescription"], "editors show the default nowhere else"


def test_the_walk_sees_all() -> None:
    assert len(KEYS) > 80
    assert len(list(defaults())) > 70
    assert sum(not is_obvious(key) for key in KEYS.values()) > 50


@pytest.mark.parametrize("kind", ["kafka", "http", "slack", "file"])
def test_a_new_sink_is_offered_whole(kind: str) -> None:
    [snippet] = [each for each in SCHEMA["$defs"]["Sink"]["else"]["defaultSnippets"] if each["body"]["type"] == kind]
    assert snippet["label"] == f"{kind} sink"
    file = json.dumps({"sinks": {"x": snippet["body"]}}).replace(r"\\$", "$")
    assert red_lines(file) == []


def test_events_are_offered_by_name() -> None:
    offered = KEYS["RouteOptions.events"]["items"]["examples"]
    assert set(offered) > KNOWN_TYPES
    assert "*" in offered


def test_no_default_is_hidden_or_in_foreign_units() -> None:
    text = schema_text()
    assert "***" not in text
    assert not re.search(r'"default": "P[0-9T]', text)
    assert SCHEMA["$defs"]["SlackOptions"]["properties"]["rate"]["default"] == "1/s"
    assert SCHEMA["$defs"]["GatewayOptions"]["properties"]["max_body"]["default"] == "1MiB"


@pytest.mark.parametrize(
    "text",
    [
        "gateway: {max_inflight: '${N}', max_body: '${S}', listen: '${L}'}",
        "store: ${STORE}",
        "sinks: {a: {type: file, path: x, enabled: '${E}', order: '${O}', rate: '${R}', timeout: '${T}'}}",
        "sinks: {a: {type: http, url: '${URL}', allow_private: '${P}', secret: '${S}'}}",
        "sinks: {a: {type: http, url: 'https://${HOST}/x', retry: {factor: '${F}', base: '${B}'}}}",
        "sinks: {a: {type: kafka, topic: x, bootstrap_servers: ['${B}'], compression_type: '${C}', key: '${K}'}}",
        "sources: {dyte: {provider: '${P}', path: '${PATH}'}}",
        "retention: {delivered: 0}",
        "sinks: {a: {type: slack, webhook_url: x, rate: null}}",
    ],
)
def test_editors_allow_a_variable_wherever_a_scalar_is(text: str) -> None:
    assert red_lines(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "gatway: {}",
        "gateway: {max_inflight: 0}",
        "gateway: {max_inflight: many}",
        "gateway: {max_body: 1Mb}",
        "store: mysql://x",
        "sources: {}",
        "sources: {a b: {}}",
        "sources: {dyte: {provider: zoom}}",
        "sinks: {a: {}}",
        "sinks: {a: {type: flie, path: x}}",
        "sinks: {a: {type: file, path: x, url: https://x}}",
        "sinks: {a: {type: file, path: x, enabled: 'yes'}}",
        "sinks: {a: {type: file, path: x, order: up}}",
        "sinks: {a: {type: http}}",
        "routes: [{to: [a]}]",
        "routes: [{name: a, to: []}]",
        "routes: [{name: a, to: a}]",
    ],
)
def test_editors_underline_what_the_relay_refuses(tmp_path: Path, text: str) -> None:
    assert red_lines(text)
    assert checked(tmp_path, text).errors
