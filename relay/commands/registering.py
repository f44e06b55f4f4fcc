"""What the commands of `relay webhooks` share: which sources are meant, what is registered for them, who agrees."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from relay.commands.consoles import err
from relay.commands.output import WRONG_USE, fail, plain
from relay.commands.standing import suggestion
from relay.config import SourcesAndRoutes, load_sources, source_address
from relay.errors import ConfigError
from relay.gateway.options import SourceOptions
from relay.model import value
from relay.registration import (
    Account,
    Provider,
    Registration,
    Step,
    Stray,
    account,
    missing_keys,
    plan,
    safe_address,
    strays,
)
from relay.registration.options import keys_of
from relay.routing import Route

_EXAMPLE = """\
no source says where it is reached and who may register it; add to relay.yaml, for instance:
  sources:
    dyte:
      public_url: https://relay.example
      api: {organization_id: "${DYTE_ORGANIZATION:-}", api_key: "${DYTE_API_KEY:-}"}"""
_VARIABLES = {
    "organization_id": "DYTE_ORGANIZATION",
    "api_key": "DYTE_API_KEY",
    "account_id": "CLOUDFLARE_ACCOUNT_ID",
    "app_id": "REALTIMEKIT_APP_ID",
    "api_token": "CLOUDFLARE_API_TOKEN",
}


@value
class Chosen:
    """A source that is meant, and where its registration is kept."""

    name: str
    options: SourceOptions
    url: str
    """Empty where relay.yaml does not say it, and nobody needs it."""
    account: Account


@value
class Asked:
    """What one call is about."""

    config_path: Path
    found: SourcesAndRoutes
    chosen: Sequence[Chosen]
    reveal: bool
    as_json: bool

    @property
    def routes(self) -> Sequence[Route]:
        """All routes, at work."""
        return [Route(options) for options in self.found.routes]

    @property
    def addresses(self) -> Mapping[str, str]:
        """Of all sources that have one, also of those that are not meant."""
        known = {name: source_address(name, options) for name, options in self.found.sources.items()}
        return {name: url for name, url in known.items() if url is not None}

    def shown(self, url: str) -> str:
        """An address as it may be printed: who knows all of it can register it too, or post to it."""
        return url if self.reveal else safe_address(url)


@value
class Plan:
    """What is to be done, and what else somebody should look at."""

    steps: Sequence[Step]
    strays: Sequence[Stray]


def choose(config_path: Path, names: Sequence[str], *, reveal: bool, as_json: bool, with_url: bool = True) -> Asked:
    """The sources that are named, or all that can be registered; ends with everything that is missing for it."""
    try:
        found = load_sources(config_path, os.environ)
    except ConfigError as error:
        fail(error)
    for name in names:
        if name not in found.sources:
            raise click.UsageError(plain(f"there is no source {name!r}; {suggestion(name, list(found.sources))}"))
    wanted = {name: each for name, each in found.sources.items() if (name in names if names else _is_meant(each))}
    if not wanted:
        fail(ConfigError(_EXAMPLE))
    if missing := [text for name, each in wanted.items() for text in _missing(name, each, with_url=with_url)]:
        fail(ConfigError("\n".join(missing)))
    chosen = [_chosen(name, each) for name, each in wanted.items()]
    return Asked(config_path=config_path, found=found, chosen=chosen, reveal=reveal, as_json=as_json)


async def look(asked: Asked) -> Mapping[Account, Sequence[Registration]]:
    """All that is registered in the accounts of these sources."""
    found: dict[Account, Sequence[Registration]] = {}
    for place in dict.fromkeys(each.account for each in asked.chosen):
        async with Provider.opened(place, told=told) as provider:
            found[place] = await provider.list()
    return found


async def look_and_plan(asked: Asked) -> Plan:
    """What is to be done for each of them."""
    existing = await look(asked)
    steps = [plan(each.name, each.url, asked.routes, existing[each.account]) for each in asked.chosen]
    return Plan(steps=steps, strays=[one for each in existing.values() for one in strays(asked.addresses, each)])


def told(text: str) -> None:
    """Say what takes time."""
    err.print(plain(text), style="dim", markup=False)


def can_ask() -> bool:
    """Whether somebody sits there."""
    return sys.stdin.isatty()


def ask(question: str, *, yes: bool, as_json: bool) -> None:
    """Go on only where somebody agrees, on a terminal or beforehand."""
    if yes:
        return
    if as_json or not can_ask():
        err.print("nobody can be asked here, so nothing was changed; say --yes to agree beforehand", style="red")
        raise SystemExit(WRONG_USE)
    click.confirm(question, abort=True)


def _is_meant(options: SourceOptions) -> bool:
    return options.public_url is not None or options.api is not None


def _missing(name: str, options: SourceOptions, *, with_url: bool) -> Sequence[str]:
    """What is missing to register a source, each with what to do."""
    found = []
    if with_url and options.public_url is None:
        found.append(
            f"sources.{name}.public_url: is missing; add `public_url: https://…`, where the sender reaches you"
        )
    missing = missing_keys(options.provider, options.api)
    if options.api is None:
        keys = ", ".join(f'{key}: "${{{_VARIABLES[key]}:-}}"' for key in keys_of(options.provider))
        return [*found, f"sources.{name}.api: is missing; add `api: {{{keys}}}`"]
    return found + [
        f"sources.{name}.api.{key}: is missing or empty; write `{key}: ${{{_VARIABLES[key]}:-}}`, "
        f"and set {_VARIABLES[key]} where this command runs"
        for key in missing
    ]


def _chosen(name: str, options: SourceOptions) -> Chosen:
    assert options.api is not None, "it was looked for"  # noqa: S101
    url = source_address(name, options) or ""
    return Chosen(name=name, options=options, url=url, account=account(options.provider, options.api))
