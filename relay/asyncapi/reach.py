"""Which events may come to a sink: what the routes say before any event is there. Pure.

A `where` may hold or not; everything else in a route is known beforehand, and so is which route comes first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from relay.config import Config
from relay.events import CATALOGUE
from relay.model import UNREADABLE, value
from relay.routing import RouteOptions
from relay.vocabulary import OTHER

TYPES = (*CATALOGUE, OTHER, UNREADABLE)
"""All that an event's type may be: `OTHER` stands for those that nobody knows yet."""


@value
class Way:
    """How events of one source come to a sink."""

    routes: Sequence[RouteOptions]
    """Those that may be the first to name the sink, in the order of the file."""
    sure: bool
    """Whether all of them come."""


@value
class Reach:
    """Events of one type that may come to one sink."""

    type: str
    ways: Mapping[str, Way]
    """By source."""

    @property
    def sources(self) -> Sequence[str]:
        """The sources that they come from."""
        return list(self.ways)

    @property
    def routes(self) -> Sequence[RouteOptions]:
        """The routes that they come by."""
        return list({route.name: route for way in self.ways.values() for route in way.routes}.values())

    @property
    def sure(self) -> bool:
        """Whether every event of this type and these sources comes."""
        return all(way.sure for way in self.ways.values())


def reaching(config: Config, sink: str) -> Sequence[Reach]:
    """What may come to a sink, type by type."""
    found = []
    for event_type in TYPES:
        ways = {source: _way(config.routes, sink, event_type, source) for source in config.sources}
        if used := {source: way for source, way in ways.items() if way.routes}:
            found.append(Reach(type=event_type, ways=used))
    return found


def _way(routes: Sequence[RouteOptions], sink: str, event_type: str, source: str) -> Way:
    taking = [route for route in routes if _may_take(route, event_type, source)]
    regular = [route for route in taking if not route.fallback]
    fallback = [route for route in taking if route.fallback]
    way = _first_to_name(regular, sink, event_type)
    if way.sure or any(_surely_takes(route, event_type) for route in regular):
        return way
    rest = _first_to_name(fallback, sink, event_type)  # where none of the regular ones matches
    return Way(routes=[*way.routes, *rest.routes], sure=rest.sure and not regular)


def _first_to_name(routes: Sequence[RouteOptions], sink: str, event_type: str) -> Way:
    """After one that surely takes an event, no later one is the first."""
    found = []
    for route in routes:
        if sink in route.to:
            found.append(route)
            if _surely_takes(route, event_type):
                return Way(routes=found, sure=True)
    return Way(routes=found, sure=False)


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
