"""The whole of relay.yaml: everybody's Options, put together. Only `app` and the commands see it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints, WithJsonSchema

from relay.admin import AdminOptions
from relay.config.words import NAME_PATTERN
from relay.gateway.options import GatewayOptions, SourceOptions
from relay.options import Duration, Options, Secret, Unfit
from relay.registration.url import public_address
from relay.routing import RouteOptions
from relay.sinks import SinkOptions
from relay.stores import unfit


def _known_store(url: Secret) -> Secret:
    """Only the kind of store is judged here; its file or server is somebody else's to find."""
    if problem := unfit(url.get_secret_value()):
        raise Unfit(problem)
    return url


Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Name of a source or sink: a label of metrics."""
StoreUrl = Annotated[
    Secret,
    AfterValidator(_known_store),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^(sqlite:///|postgres(ql)?://).+",
            "examples": [
                "sqlite:///data/relay.db",
                "postgresql://relay:${POSTGRES_PASSWORD}@db.internal:5432/relay",
            ],
        }
    ),
]


class RetentionOptions(Options):
    """How long the store keeps what is settled."""

    delivered: Duration = timedelta(days=7)
    """Events whose deliveries all arrived, and the marks against duplicates."""
    dead: Duration = timedelta(days=30)
    """Events with a dead letter."""


class Config(Options):
    """The configuration of dyte-relay."""

    store: StoreUrl = Secret("sqlite:///data/relay.db")
    """Where accepted events are kept: `sqlite:///` and a path, four slashes for an absolute one; or the URL of a
    PostgreSQL database, in which several relays can work together."""
    retention: RetentionOptions = RetentionOptions()
    """How long the store keeps what is settled."""
    gateway: GatewayOptions = GatewayOptions()
    """The public side, which takes webhooks."""
    admin: AdminOptions = AdminOptions()
    """The private side: metrics, health, JSON API."""
    sources: dict[Name, SourceOptions] = Field(default={"dyte": SourceOptions()}, min_length=1)
    """Who posts to us. The name is a metric label and part of the default path."""
    sinks: dict[Name, SinkOptions] = Field(default={})
    """Where events go; a sink is a destination and a representation."""
    routes: tuple[RouteOptions, ...] = ()
    """Which events go to which sinks. Every route that matches delivers; a sink gets an event once."""

    @cached_property
    def hash(self) -> str:
        """Twelve hex digits that change with any setting, secrets and defaults included; not with comments or order."""
        text = json.dumps(_plain(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def source_path(name: str, options: SourceOptions) -> str:
    """Where a source posts to."""
    return options.path if options.path is not None else f"/webhooks/{name}"


def source_address(name: str, options: SourceOptions) -> str | None:
    """Where the sender reaches a source, as far as relay.yaml says so."""
    return None if options.public_url is None else public_address(options.public_url, source_path(name, options))


def _plain(setting: object) -> Any:
    match setting:
        case BaseModel():
            return {name: _plain(getattr(setting, name)) for name in type(setting).model_fields}
        case Mapping():
            return {str(key): _plain(inner) for key, inner in setting.items()}
        case tuple() | list():
            return [_plain(inner) for inner in setting]
        case SecretStr():
            return setting.get_secret_value()
        case None | bool() | int() | float():
            return setting
        case _:  # texts, durations, choices, expressions, rates
            return str(setting)
