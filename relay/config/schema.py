"""The JSON Schema of relay.yaml, made of the models, for editors: completion, hints and red lines while typing.

Wider than the relay in one place: `${…}` may stand wherever a scalar may, because only the relay knows what it holds.
Two keywords are not JSON Schema's, and are ignored by all but editors: `markdownDescription`, what they show under the
pointer, and `defaultSnippets`, what they offer to write.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from enum import Enum
from inspect import cleandoc
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, SecretStr
from pydantic.json_schema import GenerateJsonSchema

from relay.admin import AdminOptions
from relay.config.model import Config, RetentionOptions
from relay.config.words import NAME_PATTERN
from relay.gateway.options import GatewayOptions, SourceOptions
from relay.options import Rate, RetryOptions, format_duration, format_size
from relay.registration.options import ApiOptions
from relay.routing import RouteOptions
from relay.sinks import SinkOptions
from relay.vocabulary import KNOWN_TYPES

_Schema: TypeAlias = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ID = "urn:dyte-relay:relay.yaml:1"
_VARIABLE: _Schema = {
    "title": "Variable",
    "description": "Filled in when the file is loaded: `${NAME}`, `${NAME:-default}` or `${file:/run/secrets/name}`.",
    "type": "string",
    "pattern": r"\$\{[^{}]+\}",
    "examples": ["${NAME}", "${NAME:-default}", "${file:/run/secrets/name}"],
}
_VARIABLE_REF: _Schema = {"$ref": "#/$defs/Variable"}
_ANNOTATIONS = ("title", "description", "markdownDescription", "default", "examples", "writeOnly", "deprecated")
_CONSTRAINTS = {"pattern", "enum", "const", "minLength", "maxLength"}
_ASSERTED_FORMATS = {"uri"}
_SIZE_MARK = "KiB"
_TYPE_GLOBS = ["*", "meeting.*", "recording.*", "livestreaming.*", *sorted(KNOWN_TYPES)]
_WORTH_A_LINE = {"SlackOptions": ("webhook_url",)}
"""Keys that a new sink starts with although the schema requires none of them: one of several ways."""
_EXAMPLES: Mapping[str, list[Any]] = {
    "AdminOptions.listen": ["127.0.0.1:8081", "[::1]:8081"],
    "AdminOptions.token": ["${RELAY_ADMIN_TOKEN}", "${file:/run/secrets/relay_admin_token}"],
    "GatewayOptions.listen": ["0.0.0.0:8080", "127.0.0.1:8080", "${RELAY_LISTEN:-127.0.0.1:8080}"],
    "SourceOptions.path": ["/webhooks/dyte", "/webhooks/4f1c0a9e7b5d"],
    "SourceOptions.public_key_url": ["https://api.dyte.io/.well-known/webhooks.json"],
    "SourceOptions.public_key": ["${RELAY_DYTE_PUBLIC_KEY}", "${file:/run/secrets/dyte_public_key.pem}"],
    "SourceOptions.organizations": [["5d7c6e9a-0000-4000-8000-000000000000"]],
    "SourceOptions.webhook_ids": [["${DYTE_WEBHOOK_ID}"]],
    "SourceOptions.replay_window": ["5m", "1h", "0"],
    "RetentionOptions.delivered": ["7d", "30d"],
    "RetentionOptions.dead": ["30d", "90d"],
    "GatewayOptions.max_body": ["1MiB", "256KiB"],
    "GatewayOptions.min_free": ["128MiB", "2GiB"],
    "RetryOptions.base": ["1s", "500ms"],
    "RetryOptions.cap": ["1h", "15m"],
    "RetryOptions.max_age": ["72h", "7d"],
    "SourceOptions.public_url": ["https://relay.example"],
    "SourceOptions.api": [{"organization_id": "${DYTE_ORGANIZATION}", "api_key": "${DYTE_API_KEY:-}"}],
    "ApiOptions.organization_id": ["5d7c6e9a-0000-4000-8000-000000000000"],
    "ApiOptions.api_key": ["${DYTE_API_KEY:-}"],
    "ApiOptions.account_id": ["${CLOUDFLARE_ACCOUNT_ID:-}"],
    "ApiOptions.app_id": ["${REALTIMEKIT_APP_ID:-}"],
    "ApiOptions.api_token": ["${CLOUDFLARE_API_TOKEN:-}"],
    "ApiOptions.url": ["https://api.dyte.io/v2", "https://api.cloudflare.com/client/v4"],
    "RouteOptions.name": ["everything", "recordings"],
    "RouteOptions.sources": [["dyte"]],
    "RouteOptions.events": [["*"], ["recording.*"], ["meeting.started", "meeting.ended"]],
    "RouteOptions.where": ["recording.status == 'UPLOADED'", "meeting.title != null"],
    "RouteOptions.to": [["events"]],
    "KafkaOptions.bootstrap_servers": [["localhost:9092"], ["kafka-1:9092", "kafka-2:9092"]],
    "KafkaOptions.topic": ["dyte.events", "dyte.{type}"],
    "KafkaOptions.key": ["meeting", "session", "participant.customParticipantId"],
    "KafkaOptions.client_id": ["dyte-relay-eu"],
    "KafkaOptions.sasl_plain_username": ["${KAFKA_USERNAME}"],
    "KafkaOptions.sasl_plain_password": ["${KAFKA_PASSWORD}"],
    "KafkaOptions.ssl_cafile": ["/etc/ssl/kafka-ca.pem"],
    "KafkaOptions.ssl_certfile": ["/run/secrets/kafka-client.pem"],
    "KafkaOptions.ssl_keyfile": ["/run/secrets/kafka-client.key"],
    "KafkaOptions.ssl_password": ["${KAFKA_KEY_PASSWORD}"],
    "HttpOptions.url": ["https://crm.example/hooks"],
    "HttpOptions.headers": [{"authorization": "Bearer ${CRM_TOKEN}"}],
    "HttpOptions.secret": ["${CRM_SECRET}", ["${CRM_SECRET}", "${CRM_SECRET_BEFORE}"]],
    "SlackOptions.webhook_url": ["${SLACK_WEBHOOK_URL}"],
    "SlackOptions.token": ["${SLACK_BOT_TOKEN}"],
    "SlackOptions.channel": ["C0123456789"],
    "SlackOptions.api_url": ["https://slack-gov.com/api/"],
    "SlackOptions.reveal": [["recording.downloadUrl"]],
    "SlackOptions.text": ["Recording of {{ meeting.title }} is ready"],
    "FileOptions.path": ["data/events.jsonl", "-"],
    "KafkaOptions.sasl_mechanism": ["SCRAM-SHA-512"],
    "KafkaOptions.max_request_size": ["2MiB", "1MiB"],
    "*.timeout": ["10s", "500ms"],
    "*.rate": ["50/s", "300/m"],
    "*.select": ["{id: recording.id, url: recording.downloadUrl}"],
    "*.pseudonymize": [["participant.customParticipantId"]],
    "*.pseudonym_key": ["${PSEUDONYM_KEY}"],
    "*.redact": [["participant.userDisplayName", "streamKey"]],
}


def schema() -> _Schema:
    """JSON Schema (draft 2020-12) of relay.yaml."""
    made = Config.model_json_schema(mode="validation", schema_generator=_Generator)
    definitions: _Schema = made.pop("$defs")
    for model in models():
        described = made if model is Config else definitions[model.__name__]
        described["title"] = f"{kind} sink" if (kind := _kind_of(model)) else _part_of(model)
        for name, field in described["properties"].items():
            _describe(model, name, field)
    definitions["RouteOptions"]["properties"]["events"]["items"]["examples"] = _TYPE_GLOBS
    for name in ("sources", "sinks"):
        made["properties"][name]["additionalProperties"] = False
    made["properties"]["sinks"]["patternProperties"] = {NAME_PATTERN: {"$ref": "#/$defs/Sink"}}
    definitions = {name: _with_variables(definition) for name, definition in definitions.items()}
    made = _with_variables(made) | {"title": "relay.yaml"}
    made["$defs"] = definitions | {"Sink": _sink(definitions), "Variable": _VARIABLE}
    return {"$schema": _DIALECT, "$id": _ID} | made


def schema_text() -> str:
    """The schema as config/relay.schema.json holds it."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Defaults in the units of relay.yaml."""

    def encode_default(self, dft: Any) -> Any:
        return _written(dft)


def _written(default: Any) -> Any:
    """A default as somebody would write it."""
    match default:
        case BaseModel():
            return {name: _written(getattr(default, name)) for name in default.model_fields_set}
        case Mapping():
            return {name: _written(inner) for name, inner in default.items()}
        case tuple() | list():
            return [_written(inner) for inner in default]
        case _:
            return _written_scalar(default)


def _written_scalar(default: Any) -> Any:
    match default:
        case timedelta():
            return format_duration(default)
        case SecretStr():  # a default of ours, so no secret
            return default.get_secret_value()
        case Rate() | Enum():
            return str(default)
        case _:
            return default


def models() -> Iterator[type[BaseModel]]:
    """Those that relay.yaml consists of."""
    yield from (Config, RetentionOptions, GatewayOptions, AdminOptions, SourceOptions, RouteOptions, RetryOptions)
    yield ApiOptions
    yield from _sink_models()


def _sink(definitions: _Schema) -> _Schema:
    """A sink: its `type` decides which keys there are. Said with `if`, because an editor then offers the keys of one
    kind, and a checker blames the key that is wrong; with `oneOf` both speak of all kinds at once."""
    kinds = {_kind_of(model): model for model in _sink_models()}
    about = "What kind of sink it is." + "".join(f"\n\n`{kind}`: {_about(model)}" for kind, model in kinds.items())
    snippets = [
        {"label": f"{kind} sink", "description": _about(model), "body": _snippet(definitions[model.__name__], model)}
        for kind, model in kinds.items()
    ]
    typed: _Schema = {"required": ["type"]}
    return {
        "title": "sink",
        "type": "object",
        **typed,
        "properties": {
            "type": {"title": "type", "description": about, "markdownDescription": about, "enum": [*kinds]},
        },
        "allOf": [
            {
                "if": {"properties": {"type": {"const": kind}}, **typed},
                "then": {"$ref": f"#/$defs/{model.__name__}"},
            }
            for kind, model in kinds.items()
        ],
        "if": typed,
        "else": {"defaultSnippets": snippets},
    }


def _snippet(definition: _Schema, model: type[BaseModel]) -> _Schema:
    """A sink of this kind, as short as it can be."""
    keys = [*definition["required"], *_WORTH_A_LINE.get(model.__name__, ())]
    properties = definition["properties"]
    return {key: properties[key].get("const") or _literally(properties[key]["examples"][0]) for key in keys}


def _literally(example: Any) -> Any:
    """An example as a snippet, in which `$` is special."""
    return json.loads(json.dumps(example).replace("$", r"\\$"))


def _about(model: type[BaseModel]) -> str:
    return cleandoc(model.__doc__ or "").partition("\n")[0]


def _sink_models() -> tuple[type[BaseModel], ...]:
    return get_args(get_args(SinkOptions)[0])


def _part_of(model: type[BaseModel]) -> str:
    """`gateway` for GatewayOptions: what relay.yaml calls it."""
    return model.__name__.removesuffix("Options").lower()


def _kind_of(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["type"].annotation)[0]) if "type" in model.model_fields else ""


def _describe(model: type[BaseModel], name: str, field: _Schema) -> None:
    """Give a key what pydantic leaves out: the docstring of an inherited field, examples, units, its own name."""
    text = field.get("description") or _inherited_description(model, name)
    if name == "type":
        text = cleandoc(model.__doc__ or "")
    field["title"] = name
    field["description"] = re.sub(r"(?<!\n)\n(?!\n)", " ", text)
    examples = _EXAMPLES.get(f"{model.__name__}.{name}") or _EXAMPLES.get(f"*.{name}")
    if examples is not None:
        field["examples"] = examples
        for member in field.get("anyOf", ()):  # editors would show those of the type beside them
            member.pop("examples", None)
    info = model.model_fields[name]
    if not info.is_required():
        field["default"] = _written(info.get_default(call_default_factory=True))
    if isinstance(field.get("default"), int) and _SIZE_MARK in json.dumps(field.get("anyOf", "")):
        field["default"] = format_size(field["default"])
    field["markdownDescription"] = f"{field['description']}{_told_default(field)}"


def _told_default(field: _Schema) -> str:
    """A default that is worth a word: editors show it nowhere."""
    default = field.get("default")
    if default in (None, "", [], {}) or isinstance(default, dict):
        return ""
    return f"\n\nDefault: `{default if isinstance(default, str) else json.dumps(default)}`."


def _inherited_description(model: type[BaseModel], name: str) -> str:
    described = (
        base.model_fields[name].description
        for base in model.__mro__
        if issubclass(base, BaseModel) and name in base.model_fields
    )
    return next(filter(None, described), None) or ""


def _with_variables(node: _Schema) -> _Schema:
    """The same, with `${…}` beside every scalar that is more than any text."""
    node = {key: inner for key, inner in node.items() if key != "discriminator"}
    for key in ("properties", "patternProperties"):
        if key in node:
            node[key] = {name: _with_variables(inner) for name, inner in node[key].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            node[key] = _with_variables(node[key])
    if node.get("type") == "string" and "const" in node:  # `type: kafka` chooses the other keys
        return node
    if "anyOf" in node:
        members = [member if _is_scalar(member) else _with_variables(member) for member in node["anyOf"]]
        extra = [_VARIABLE_REF] if any(map(_is_scalar, members)) else []
        return node | {"anyOf": members + extra}
    if not _is_scalar(node):
        return node
    about = {key: inner for key, inner in node.items() if key in _ANNOTATIONS}
    core = {key: inner for key, inner in node.items() if key not in _ANNOTATIONS}
    return about | {"anyOf": [core, _VARIABLE_REF]}


def _is_scalar(node: _Schema) -> bool:
    """Whether a node takes some scalars but not every text."""
    if node.get("type") in ("integer", "number", "boolean") or "const" in node:
        return True
    return node.get("type") == "string" and (
        bool(_CONSTRAINTS & node.keys()) or node.get("format") in _ASSERTED_FORMATS
    )
