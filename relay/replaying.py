"""Sending again, whoever asks for it: in steps that leave room for live traffic, and by the routes of today."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from time import monotonic
from typing import TypeVar

from relay.assembly import route_table
from relay.config import Config
from relay.errors import StoreUnavailable
from relay.model import EventState, Selection, Target, value
from relay.ports import Store
from relay.records import EventRecord, Redelivered

T = TypeVar("T")

STEP = 500
"""Deliveries in one commit: some milliseconds of the lock that answers need too."""
STEP_OF_EVENTS = 100
"""Events matched anew in one commit; they are read with their bodies."""
_REST = 0.05
_REST_SHARE = 2.0
"""Between two commits the lock is left to others: this long, or so many times as long as the commit took."""
_PATIENCE = 20
"""How often a store that is busy with others is asked again; each time it has waited by itself already."""


@value
class Schedule:
    """When replays go out: the first at once, each later one `spacing` after the one before."""

    began: datetime
    spacing: timedelta

    def at(self, number: int) -> datetime:
        """When the replay of this number goes out; the first is 0."""
        return self.began + number * self.spacing


@value
class Match:
    """What the routes of today say of one event."""

    record: EventRecord
    targets: Sequence[Target] = ()
    refused: bool = False
    """Its source's allow-lists do not take it, or it is quarantined and its source is gone."""


class Router:
    """Matches stored events as the gateway would if they came in now."""

    def __init__(self, config: Config, *, sink: str | None = None, route: str | None = None) -> None:
        """With `sink` and `route`, only targets of these count."""
        self._table = route_table(config)
        self._sources = config.sources
        self._sink = sink
        self._route = route

    def match(self, record: EventRecord) -> Match:
        """The targets of today. Never raises."""
        if self._is_refused(record):
            return Match(record=record, refused=True)
        return Match(record=record, targets=[t for t in self._table.match(record.event) if self._is_meant(t)])

    def _is_refused(self, record: EventRecord) -> bool:
        source = self._sources.get(record.event.source)
        if source is None:  # nobody is left to judge it: it stays as it was judged
            return record.state is EventState.QUARANTINED
        return source.judge(record.event) is not None

    def _is_meant(self, target: Target) -> bool:
        return self._sink in (None, target.sink) and self._route in (None, target.route)


async def replay(
    store: Store, selection: Selection, schedule: Schedule, *, told: Callable[[int], None] = lambda _done: None
) -> int:
    """Make all that is meant pending once more; how many. `told` hears of each commit how many it were."""
    selection = await _bounded(store, selection)
    turns, done = _Turns(), 0
    after: int | None = 0
    while after is not None:
        step = await turns.take(
            partial(
                store.replay,
                selection,
                now=schedule.began,
                first_at=schedule.at(done),
                spacing=schedule.spacing,
                after=after,
                limit=STEP,
            )
        )
        done, after = done + step.done, step.next
        told(step.done)
    return done


async def matches(store: Store, selection: Selection, router: Router) -> AsyncIterator[Sequence[Match]]:
    """What today's routes say of all events that are meant, a step at a time."""
    selection = await _bounded(store, selection)
    after: int | None = 0
    while after is not None:
        step = await store.selected(selection, after=after, limit=STEP_OF_EVENTS)
        after = step.next
        yield [router.match(record) for record in step.done]


async def reroute(
    store: Store,
    selection: Selection,
    schedule: Schedule,
    router: Router,
    *,
    config: str,
    told: Callable[[Sequence[Match]], None] = lambda _matched: None,
) -> Redelivered:
    """Give the events that are meant what today's routes choose and they lack, and replay what they have of that and
    stands in the selection's states; how many. `told` hears of each step."""
    turns, total = _Turns(), Redelivered()
    async for matched in matches(store, selection, router):
        wanted = [(match.record.event.id, match.targets) for match in matched if match.targets]
        if wanted:
            made = await turns.take(
                partial(
                    store.redeliver,
                    wanted,
                    states=selection.states,
                    now=schedule.began,
                    first_at=schedule.at(total.added + total.replayed),
                    spacing=schedule.spacing,
                    config=config,
                )
            )
            total = _sum(total, made)
        told(matched)
    return total


async def _bounded(store: Store, selection: Selection) -> Selection:
    """The selection without what comes in from now on: what arrives during a replay is not sent twice."""
    return replace(selection, upto=await store.end())


def _sum(one: Redelivered, other: Redelivered) -> Redelivered:
    return Redelivered(
        added=one.added + other.added, replayed=one.replayed + other.replayed, sinks=one.sinks | other.sinks
    )


class _Turns:
    """Commits one after the other, with rests between them, in which others find the lock free."""

    def __init__(self) -> None:
        self._rest = 0.0

    async def take(self, work: Callable[[], Awaitable[T]]) -> T:
        await asyncio.sleep(self._rest)
        for _ in range(_PATIENCE):
            started = monotonic()
            try:
                result = await work()
            except StoreUnavailable as error:
                if error.kind != "busy":
                    raise
                await asyncio.sleep(_REST)
                continue
            self._rest = max(_REST, _REST_SHARE * (monotonic() - started))
            return result
        return await work()
