"""The JSON API: what came, where it went, how the sinks are, and the few things that can be changed.

`GET /api/events`, `/api/events/{id}`, `/api/deliveries`, `/api/sinks`; `POST /api/sinks/{name}/pause` and `…/resume`,
`/api/replay`. An error is `{"error": "…"}` with words that say what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias, TypeVar

import orjson
from aiohttp import web
from pydantic import AwareDatetime, Field, ValidationError

from relay.admin.access import Access, Refusal
from relay.errors import StoreError
from relay.model import DeliveryState, EventState, Selection, Wish
from relay.options import Options, Rate
from relay.ports import Clock, Store
from relay.views import Body, delivery_view, event_view, sink_view, tally_view

log = logging.getLogger("relay")

_MOST = 1000
Q = TypeVar("Q", bound=Options)
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]
Replay: TypeAlias = Callable[[Selection, timedelta], Awaitable[int]]
"""Sends what is meant again, so long one after the other, and says how many deliveries that are."""


class EventsQuery(Options):
    """Which events."""

    type: str | None = None
    meeting: str | None = None
    source: str | None = None
    state: EventState | None = None
    limit: int = Field(default=50, ge=1, le=_MOST)


class DeliveriesQuery(Options):
    """Which deliveries."""

    event: str | None = None
    sink: str | None = None
    state: DeliveryState | None = None
    meeting: str | None = None
    limit: int = Field(default=50, ge=1, le=_MOST)


class ReplayRequest(Options):
    """What to send again, by at least one condition. What is left out does not matter."""

    event: str | None = None
    meeting: str | None = None
    source: str | None = None
    type: str | None = None
    sink: str | None = None
    route: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    states: frozenset[DeliveryState] = Field(default=frozenset({DeliveryState.DEAD}), min_length=1)
    rate: Rate = Rate.parse("50/s")
    dry_run: bool = False
    expected: int | None = None
    """Refuse it where another number is meant: the one that a dry run counted."""

    @property
    def selection(self) -> Selection:
        """The same in the store's words."""
        return Selection(
            event_id=self.event,
            meeting=self.meeting,
            source=self.source,
            type_glob=self.type,
            sink=self.sink,
            route=self.route,
            states=self.states,
            since=self.since,
            until=self.until,
        )

    @property
    def is_bounded(self) -> bool:
        """Whether it names anything at all."""
        named = (self.event, self.meeting, self.source, self.type, self.sink, self.route, self.since, self.until)
        return any(condition is not None for condition in named)


class Refused(Exception):
    """A request that is turned away, and why."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.refusal = Refusal(status=status, detail=detail)


class Api:
    """Answers people's tools."""

    def __init__(self, store: Store, *, access: Access, replay: Replay, clock: Clock) -> None:
        self._store = store
        self._access = access
        self._replay = replay
        self._clock = clock

    def add_to(self, application: web.Application) -> None:
        """Add the routes."""
        reading: dict[str, Handler] = {
            "/api/events": self._events,
            "/api/events/{id}": self._event,
            "/api/deliveries": self._deliveries,
            "/api/sinks": self._sinks,
        }
        changing: dict[str, Handler] = {
            "/api/sinks/{name}/pause": self._pause,
            "/api/sinks/{name}/resume": self._resume,
            "/api/replay": self._ask_for_replay,
        }
        for path, handler in reading.items():
            application.router.add_get(path, self._guarded(handler))
        for path, handler in changing.items():
            application.router.add_post(path, self._guarded(handler))

    def _guarded(self, handler: Handler) -> Handler:
        """Let in who may, and answer every error in words."""

        async def guarded(request: web.Request) -> web.Response:
            refusal = self._access.judge(request)
            try:
                if refusal is None:
                    return await handler(request)
            except Refused as refused:
                refusal = refused.refusal
            except StoreError as error:
                refusal = Refusal(status=503, detail=str(error))
            return _answer({"error": refusal.detail}, status=refusal.status)

        return guarded

    # Reading

    async def _events(self, request: web.Request) -> web.Response:
        query = _parsed(EventsQuery, dict(request.query))
        records = await self._store.events(
            type_glob=query.type, meeting=query.meeting, source=query.source, state=query.state, limit=query.limit
        )
        return _answer([event_view(record) for record in records])

    async def _event(self, request: web.Request) -> web.Response:
        record = await self._store.event(request.match_info["id"])
        if record is None:
            raise Refused(404, "no such event, or more than one that starts so")
        deliveries = await self._store.deliveries(event_id=record.event.id, limit=_MOST)
        body = Body.CONCEALED if request.query.get("body") == "true" else Body.NONE
        return _answer(
            event_view(record, body=body) | {"deliveries": [delivery_view(delivery) for delivery in deliveries]}
        )

    async def _deliveries(self, request: web.Request) -> web.Response:
        query = _parsed(DeliveriesQuery, dict(request.query))
        records = await self._store.deliveries(
            event_id=query.event, sink=query.sink, state=query.state, meeting=query.meeting, limit=query.limit
        )
        return _answer([delivery_view(record) for record in records])

    async def _sinks(self, _request: web.Request) -> web.Response:
        return _answer([sink_view(record) for record in await self._store.sinks()])

    # Changing

    async def _pause(self, request: web.Request) -> web.Response:
        return await self._wish(request, paused=True)

    async def _resume(self, request: web.Request) -> web.Response:
        return await self._wish(request, paused=False)

    async def _wish(self, request: web.Request, *, paused: bool) -> web.Response:
        name = request.match_info["name"]
        if name not in {record.sink for record in await self._store.sinks()}:
            raise Refused(404, "there is no such sink; see /api/sinks")
        await self._store.wish(name, Wish(paused=paused, at=self._clock.now()))
        _audit(request, "sink.paused" if paused else "sink.resumed", sink=name)
        return _answer({"sink": name, "paused": paused}, status=202)

    async def _ask_for_replay(self, request: web.Request) -> web.Response:
        asked = _parsed(ReplayRequest, await _json(request))
        if not asked.is_bounded:
            raise Refused(400, "name at least one of event, meeting, source, type, sink, route, since, until")
        tallies = await self._store.tally(asked.selection)
        count = sum(tally.count for tally in tallies)
        if asked.dry_run:
            return _answer({"count": count, "by": [tally_view(tally) for tally in tallies]})
        if asked.expected is not None and asked.expected != count:
            raise Refused(409, f"{count} deliveries are meant, not {asked.expected}; look again with dry_run")
        # Told before it begins: it goes in steps, and what stands of them stands also where a later one fails.
        _audit(request, "replay", meant=count, asked=asked.model_dump_json(exclude_defaults=True))
        done = await self._replay(asked.selection, timedelta(seconds=1 / asked.rate.per_second))
        return _answer({"replayed": done}, status=202)


async def _json(request: web.Request) -> object:
    try:
        return orjson.loads(await request.read())
    except orjson.JSONDecodeError as error:
        raise Refused(400, "the body is no JSON") from error


def _parsed(kind: type[Q], given: object) -> Q:
    """The request, checked; its error names each key that is wrong."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        problems = [
            f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors(include_input=False)
        ]
        raise Refused(400, "; ".join(problems)) from error


def _audit(request: web.Request, change: str, **about: object) -> None:
    log.warning("admin.changed", extra={"change": change, "by": request.remote, **about})


def _answer(body: object, *, status: int = 200) -> web.Response:
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    if status == 429:
        headers["retry-after"] = "60"
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")
