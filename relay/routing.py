"""Which sinks an event goes to: rules compiled once, matched in memory, unable to fail."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from enum import StrEnum
from fnmatch import translate

from pydantic import Field

from relay.expression import ExpressionError, is_true
from relay.model import Event, Target, value
from relay.options import JmesPath, Options, Order
from relay.payload import Json
from relay.sensitive import concealed


class RouteOptions(Options):
    """A rule: which events go to which sinks."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    """Name in metrics, headers and the ledger; unique."""
    sources: tuple[str, ...] = ()
    """Only events of these sources; empty: of any."""
    events: tuple[str, ...] = Field(default=("*",), min_length=1)
    """Globs over the event type, for instance `recording.*`."""
    where: JmesPath | None = None
    """JMESPath over the payload; false, null, empty and errors do not match."""
    to: tuple[str, ...] = Field(min_length=1)
    """Sinks; each gets an event once, however many routes name it."""
    fallback: bool = False
    """`true`: matches only what no other route did."""


class Miss(StrEnum):
    """Why a route does not take an event."""

    SOURCE = "source"
    TYPE = "type"
    WHERE = "where"
    WHERE_ERROR = "where_error"
    UNREADABLE = "unreadable"
    NOT_NEEDED = "not_needed"
    """A fallback route, and another route matched."""


@value
class Decision:
    """What one route said of one event."""

    route: str
    miss: Miss | None = None
    detail: str = ""
    saw: Mapping[str, Json] = field(default_factory=dict)
    """What a `where` that did not match looked at; only of decisions that are explained."""

    @property
    def matched(self) -> bool:
        """Whether the route takes the event."""
        return self.miss is None


class Route:
    """One compiled rule."""

    def __init__(self, options: RouteOptions) -> None:
        self.options = options
        self._type = re.compile("|".join(translate(glob) for glob in options.events))

    def takes(self, event: Event) -> bool:
        """What `decide` decides, without its reasons: for each event that comes in, and only for types that fit."""
        options = self.options
        if options.sources and event.source not in options.sources:
            return False
        if event.defect is not None and not (options.fallback and options.where is None):
            return False
        return options.where is None or self._decide_where(event).matched

    def fits(self, event_type: str) -> bool:
        """Whether a type is among those that the route is for."""
        return self._type.match(event_type) is not None

    def decide(self, event: Event) -> Decision:
        """Match, or the first condition that failed. Never raises. Says nothing of `fallback`."""
        options = self.options
        if options.sources and event.source not in options.sources:
            return Decision(route=options.name, miss=Miss.SOURCE, detail=f"source is {event.source!r}")
        if event.defect is not None and not (options.fallback and options.where is None):
            return Decision(route=options.name, miss=Miss.UNREADABLE, detail=event.defect)
        if not self.fits(event.type):
            return Decision(route=options.name, miss=Miss.TYPE, detail=f"type is {event.type!r}")
        return self._decide_where(event)

    def explain(self, event: Event) -> Decision:
        """As `decide`, with what a `where` saw: too slow for every event, and worth it for one."""
        decision = self.decide(event)
        where = self.options.where
        if where is None or decision.miss not in (Miss.WHERE, Miss.WHERE_ERROR):
            return decision
        return replace(decision, saw=where.seen(concealed(event.payload)))

    def could_take(self, source: str, event_type: str) -> bool:
        """Whether the route takes an event of this type from this source, if its `where` holds."""
        options = self.options
        return (not options.sources or source in options.sources) and self._type.match(event_type) is not None

    def _decide_where(self, event: Event) -> Decision:
        options = self.options
        if options.where is None:
            return Decision(route=options.name)
        try:
            result = options.where.search(event.payload)
        except ExpressionError as error:
            return Decision(route=options.name, miss=Miss.WHERE_ERROR, detail=str(error))
        if is_true(result):
            return Decision(route=options.name)
        return Decision(route=options.name, miss=Miss.WHERE, detail=f"where is {result!r:.200}")


_MOST_TYPES = 256
"""Types that are remembered; whoever is signed for may invent others without end."""


class RouteTable:
    """All routes, in the order of the file."""

    def __init__(self, routes: Sequence[RouteOptions], *, orders: Mapping[str, Order]) -> None:
        """`orders` tells for each sink in which order it wants its events."""
        self._routes = [Route(options) for options in routes]
        self._regular = [route for route in self._routes if not route.options.fallback]
        self._fallback = [route for route in self._routes if route.options.fallback]
        self._orders = orders
        self._fitting: dict[str, tuple[Sequence[Route], Sequence[Route]]] = {}
        """The routes, regular and fallback, that are for a type: what a type fits is asked once."""

    def match(self, event: Event) -> Sequence[Target]:
        """The event's targets, one for each sink, under the first route that named it. Never raises."""
        regular, fallback = self._for_type(event.type)
        matched = [route for route in regular if route.takes(event)]
        if not matched:
            matched = [route for route in fallback if route.takes(event)]
        first_route: dict[str, str] = {}
        for route in matched:
            for sink in route.options.to:
                first_route.setdefault(sink, route.options.name)
        return [
            Target(route=name, sink=sink, order_key=self._order_key(sink, event)) for sink, name in first_route.items()
        ]

    def explain(self, event: Event) -> Sequence[Decision]:
        """What each route says of the event, in the order of the file."""
        needed = not any(route.decide(event).matched for route in self._regular)
        return [_if_needed(route, route.explain(event), needed=needed) for route in self._routes]

    def _for_type(self, event_type: str) -> tuple[Sequence[Route], Sequence[Route]]:
        known = self._fitting.get(event_type)
        if known is None:
            known = (
                [route for route in self._regular if route.fits(event_type)],
                [route for route in self._fallback if route.fits(event_type)],
            )
            if len(self._fitting) < _MOST_TYPES:
                self._fitting[event_type] = known
        return known

    def _order_key(self, sink: str, event: Event) -> str | None:
        return event.thread if self._orders.get(sink) is Order.MEETING else None


def _if_needed(route: Route, decision: Decision, *, needed: bool) -> Decision:
    """A fallback route matches only where it is needed."""
    if needed or not route.options.fallback or not decision.matched:
        return decision
    return Decision(route=decision.route, miss=Miss.NOT_NEEDED, detail="another route matched")
