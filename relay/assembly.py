"""From a configuration to the parts that it describes. Nothing is started here: that is for who owns lifetimes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from random import Random

import aiohttp

from relay import sinks
from relay.config import Config, source_path
from relay.dyte import PROVIDER_KEY_URLS
from relay.gateway import Rules, Source
from relay.gateway.options import SourceOptions
from relay.keyring import FetchedKeys, PinnedKeys, fetch_document
from relay.lane import Lane
from relay.model import value
from relay.options import Rate
from relay.pace import Pace
from relay.ports import Clock, Keys, Outbox, Sink
from relay.routing import RouteTable
from relay.seat import Seat
from relay.stores import sqlite_path
from relay.telemetry import Telemetry

log = logging.getLogger("relay")

_CLOSE_SINK = 6.0
"""Seconds that a sink has to let go."""


@value
class Parts:
    """All that one configuration makes. A reload makes the next one, and takes over what does not change."""

    config: Config
    sources: Sequence[Source]
    sinks: Mapping[str, Sink]
    rules: Rules

    @property
    def fetched(self) -> Mapping[str, FetchedKeys]:
        """The keys that want to be fetched, by source."""
        return {source.name: source.keys for source in self.sources if isinstance(source.keys, FetchedKeys)}


class Assembly:
    """Makes parts."""

    def __init__(self, *, session: aiohttp.ClientSession, telemetry: Telemetry, clock: Clock) -> None:
        self._session = session
        self._telemetry = telemetry
        self._clock = clock
        self._paces: dict[str, Pace] = {}
        self._seats: dict[str, Seat] = {}

    def make(self, config: Config, *, before: Parts | None = None) -> Parts:
        """The parts of a configuration; sinks of the same options and keys of the same address are those of before."""
        sources = [
            Source(name=name, options=options, keys=self._keys(name, options, config, before))
            for name, options in config.sources.items()
        ]
        kept = before.sinks if before else {}
        changed = changed_sinks(before.config, config) if before else config.sinks.keys()
        made = {
            name: sinks.build(name, options, self._telemetry) if name in changed else kept[name]
            for name, options in config.sinks.items()
        }
        rules = Rules(
            sources={source_path(source.name, source.options): source for source in sources},
            table=route_table(config),
            config=config.hash,
        )
        return Parts(config=config, sources=sources, sinks=made, rules=rules)

    def lanes(self, parts: Parts, outbox: Outbox, *, names: Collection[str]) -> list[Lane]:
        """A new lane for each of these sinks that is enabled. It sets the paces: call it as the parts come in force."""
        self._set_paces(parts.config)
        return [
            Lane(
                name,
                parts.sinks[name],
                options,
                outbox,
                pace=self._paces[options.pacing_key(name)],
                seat=self._seats[options.pacing_key(name)],
                telemetry=self._telemetry,
                clock=self._clock,
                rng=Random(),  # noqa: S311 - jitter, not a secret
            )
            for name, options in parts.config.sinks.items()
            if name in names and options.enabled
        ]

    def _set_paces(self, config: Config) -> None:
        """One pace, and one seat, for each place that is posted to; of several sinks of one place, the slowest rate
        holds for all."""
        rates: dict[str, list[Rate]] = {}
        for name, options in config.sinks.items():
            given = rates.setdefault(options.pacing_key(name), [])
            given += [] if options.rate is None else [options.rate]
        for key, given in rates.items():
            slowest = min(given, key=lambda rate: rate.per_second, default=None)
            self._paces.setdefault(key, Pace(slowest)).change(slowest)
            self._seats.setdefault(key, Seat(key, self._paces[key]))

    def _keys(self, name: str, options: SourceOptions, config: Config, before: Parts | None) -> Keys:
        if options.pinned:
            return PinnedKeys(options.pinned)
        url = options.public_key_url or PROVIDER_KEY_URLS[options.provider]
        known = before.fetched.get(name) if before else None
        if known is not None and known.url == url:
            return known
        return FetchedKeys(
            name,
            url=url,
            cache=_state_folder(config) / "keys" / f"{name}.json",
            fetch=lambda url: fetch_document(self._session, url),
            clock=self._clock,
            observer=self._telemetry,
        )


def route_table(config: Config) -> RouteTable:
    """The routes of a configuration, at work."""
    return RouteTable(config.routes, orders={name: options.order for name, options in config.sinks.items()})


def changed_sinks(before: Config, after: Config) -> set[str]:
    """Sinks that are new or have other options."""
    return {name for name, options in after.sinks.items() if options != before.sinks.get(name)}


async def close_sinks(built: Mapping[str, Sink]) -> None:
    """All at the same time: each may take its seconds, and several dead ones must not add up."""
    await asyncio.gather(*(_close_sink(name, sink) for name, sink in built.items()))


async def _close_sink(name: str, sink: Sink) -> None:
    """A sink that cannot let go must not keep the process."""
    try:
        async with asyncio.timeout(_CLOSE_SINK):
            await sink.close()
    except TimeoutError:
        log.warning("sink.close_timed_out", extra={"sink": name})


def _state_folder(config: Config) -> Path:
    """Where small files of ours lie: beside the store, or in `data` where the store is a server."""
    path = sqlite_path(config.store.get_secret_value())
    return Path("data") if path is None else path.parent
