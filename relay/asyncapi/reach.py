"""Which events may come to a sink: what the routes say before any event is there. Pure.

A `where` may hold or not; everything else in a route is known beforehand, and so is which route comes first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from relay.config import Config
from relay.events import CATALOGUE
from relay.model import UNREADABLE, value
from relay.routing import RouteOptions
from relay.vocabulary import OTHER

TYPES = (*CATALOGUE, OTHER, UNREADABLE)
"""All that an event's type may be: `OTHER` stands for those that nobody knows yet."""


@value
class Reach:
    """Events of one type that may come to one sink."""

    type: str
    sources: Sequence[str]
    routes: Sequence[RouteOptions]
    """Those that may be the first to name the sink, in the order of the file."""

    @property
    def sure(self) -> bool:
        """Whether every event of this type comes."""
        return any(route.where is None for route in self.routes)


def reaching(config: Config, sink: str) -> Sequence[Reach]:
    """What may come to a sink, type by type."""
    found = []
    for event_type in TYPES:
        by_source = {source: list(_routes(config.routes, sink, event_type, source)) for source in config.sources}
        sources = [source for source, routes in by_source.items() if routes]
        if sources:
            routes = [route for route in config.routes if any(route in each for each in by_source.values())]
            found.append(Reach(type=event_type, sources=sources, routes=routes))
    return found


def _routes(routes: Sequence[RouteOptions], sink: str, event_type: str, source: str) -> Iterator[RouteOptions]:
    """The routes that may bring it; after one that surely does, no later one is the first."""
    for wanted in (False, True):  # fallback routes only where no other matches
        taken = False
        for route in routes:
            if route.fallback is not wanted or not _may_take(route, event_type, source):
                continue
            sure = _surely_takes(route, event_type)
            if sink in route.to:
                yield route
                if sure:
                    return
            taken = taken or sure
        if taken:
            return


def _may_take(route: RouteOptions, event_type: str, source: str) -> bool:
    if route.sources and source not in route.sources:
        return False
    if event_type == UNREADABLE:
        return route.fallback and route.where is None and _fits(route, UNREADABLE)
    if event_type == OTHER:
        return any(_is_open(glob) or glob not in (*CATALOGUE, UNREADABLE) for glob in route.events)
    return _fits(route, event_type)


def _surely_takes(route: RouteOptions, event_type: str) -> bool:
    """Of what it may take: whether it takes all."""
    return route.where is None and (event_type != OTHER or any(not glob.strip("*") for glob in route.events))


def _fits(route: RouteOptions, event_type: str) -> bool:
    return any(fnmatchcase(event_type, glob) for glob in route.events)


def _is_open(glob: str) -> bool:
    """Whether it may match a type that nobody has thought of."""
    return any(mark in glob for mark in "*?[")
