"""The store for several nodes: one PostgreSQL database, in which they find each other's work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TypeVar

from relay.errors import StoreUnavailable
from relay.identity import new_owner
from relay.model import (
    Acceptance,
    Admission,
    Delivery,
    DeliveryState,
    EventState,
    Failure,
    GateState,
    Selection,
    Settled,
    Target,
    Wish,
)
from relay.records import Checkpoint, EventRecord, Grant, Health, Redelivered, Step
from relay.stores.postgres import horizon, ledger, nodes, outbox, pace, replay, retention, seats, switchboard
from relay.stores.postgres.connection import READING_MS, WRITING_MS, reaching
from relay.stores.postgres.hints import Hints
from relay.stores.postgres.leases import Leases
from relay.stores.postgres.pool import Pool, Query, obstacle, together
from relay.stores.postgres.reading import reads
from relay.stores.postgres.schema import prepare
from relay.stores.postgres.server import Server, parse
from relay.stores.postgres.skipping import Skipping
from relay.stores.postgres.writer import Writer
from relay.stores.rows import from_micros, to_micros

T = TypeVar("T")

_READERS, _WRITERS, _ACCEPTERS = 2, 4, 1
_MICROSECOND = timedelta(microseconds=1)


class PostgresStore:
    """A `Store` in a database. Open it with `open`, in the event loop that will use it."""

    def __init__(self, server: Server, *, owner: str | None = None) -> None:
        self._server = server
        self._owner = owner or new_owner()
        self._closed = False
        pools: list[Pool] = []
        self._reading = Pool(server, size=_READERS, statement_ms=READING_MS, reads=True, beside=pools)
        self._writing = Pool(server, size=_WRITERS, statement_ms=WRITING_MS, beside=pools)
        self._accepting = Pool(server, size=_ACCEPTERS, statement_ms=WRITING_MS, beside=pools)
        self._commit_listeners: list[Callable[[float], None]] = []
        self._recover_listeners: list[Callable[[int], None]] = []
        self._writer = Writer(self._accepting, connections=_ACCEPTERS, on_commit=self._committed)
        self._hints = Hints(server, self._writing, owner=self._owner)
        self._leases = Leases(self._writing, self._owner)
        self._skipping = Skipping()
        self._pulse = Pool(server, size=1, statement_ms=WRITING_MS, beside=pools)  # who is busy must be heard of too
        died = partial(self._writer.give_up, "the heartbeat")
        self._presence = nodes.Presence(self._pulse, self._owner, on_beat=self._beat, on_death=died)

    @classmethod
    async def open(cls, url: str, *, create: bool = True, owner: str | None = None) -> PostgresStore:
        """Connect, and create or migrate the schema; raises StartError or StoreUnusable."""
        server = parse(url)
        async with reaching(server) as connection:
            await prepare(connection, server, create=create)
        return cls(server, owner=owner)

    # Intake

    async def accept(self, admission: Admission) -> Acceptance:
        """See `Intake.accept`."""
        acceptance = await self._writer.accept(admission)
        if acceptance.duplicate is None and admission.targets:
            self._hints.tell({target.sink for target in admission.targets})
        return acceptance

    # Outbox

    @property
    def tenure(self) -> int | None:
        """See `Outbox.tenure`."""
        return self._presence.tenure

    async def claim(
        self, sink: str, *, limit: int, newest: int = 0, now: datetime, lease: timedelta, seat: str | None = None
    ) -> Sequence[Delivery]:
        """See `Outbox.claim`."""
        started = perf_counter()
        claim = partial(outbox.claim, sink=sink, limit=limit, newest=newest, now=now, lease=lease, owner=self._owner)
        claim = partial(claim, seat=seat, look=self._skipping.of(sink))
        claimed = await self._leases.claim(claim, now=to_micros(now), until=to_micros(now + lease))
        if claimed:
            self._committed(perf_counter() - started)
        self._hints.took(sink, all_of_it=len(claimed) < limit)
        return claimed

    async def settle(self, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
        """See `Outbox.settle`."""
        told: list[bool] = []
        for part in outbox.parts(results):  # one that stands there twice counts once
            recorded, due = await self._write(partial(outbox.settle, results=part, now=now))
            told += [of.id in recorded for of, _ in part]
            self._leases.ended(of for of, _ in part)
            if due is not None:  # the next one of a meeting, or a retry
                for sink in {of.sink for of, _ in part}:
                    self._skipping.of(sink).comes_due(due)
                    self._hints.set(sink)
        return told

    async def wait(self, sink: str, *, timeout: float) -> None:
        """See `Outbox.wait`."""
        await self._hints.wait(sink, timeout=timeout)

    async def next_due(self, sink: str) -> datetime | None:
        """See `Outbox.next_due`."""
        look = self._skipping.of(sink)
        if not (look.since and look.next_known):
            look.next_due = await self._writing.run(partial(outbox.next_due, sink=sink))
            look.next_known = True
        return None if look.next_due is None else from_micros(look.next_due)

    # Switchboard

    wishes = reads(switchboard.wishes)

    async def report(self, sink: str, state: GateState, failure: Failure | None, *, now: datetime) -> None:
        """See `Switchboard.report`."""
        await self._write(
            partial(switchboard.report, sink=sink, owner=self._owner, state=state, failure=failure, now=now)
        )

    async def withdraw(self, sink: str) -> None:
        """See `Switchboard.withdraw`."""
        await self._write(partial(switchboard.withdraw, sink=sink, owner=self._owner))

    async def take_seats(self, places: Collection[str]) -> Mapping[str, Grant]:
        """See `Switchboard.take_seats`."""
        return await self._write(partial(seats.take, owner=self._owner, places=places))

    async def leave_seats(self, unused: Mapping[str, timedelta]) -> None:
        """See `Switchboard.leave_seats`."""
        await self._write(partial(seats.leave, owner=self._owner, unused=unused))

    # Ledger

    async def events(
        self,
        *,
        type_glob: str | None = None,
        meeting: str | None = None,
        source: str | None = None,
        state: EventState | None = None,
        limit: int = 50,
    ) -> Sequence[EventRecord]:
        """See `Ledger.events`."""
        found: list[EventRecord] = []
        before: int | None = None
        ask = partial(ledger.events, type_glob=type_glob, meeting=meeting, source=source, state=state)
        while True:
            step = await self._reading.run(partial(ask, before=before, limit=limit - len(found)))
            found += step.done
            if step.next is None:
                return found
            before = step.next

    event = reads(ledger.event)
    deliveries = reads(ledger.deliveries)
    ahead = reads(ledger.ahead)
    backlog = reads(ledger.backlog)
    totals = reads(ledger.totals)
    sinks = reads(switchboard.sinks)
    paces = reads(pace.paces)
    end = reads(horizon.end)
    tally = reads(ledger.tally)
    selected = reads(ledger.selected)

    # Operator

    async def replay(
        self, selection: Selection, *, now: datetime, first_at: datetime, spacing: timedelta, after: int = 0, limit: int
    ) -> Step[int]:
        """See `Operator.replay`."""
        found = await self._reading.run(partial(replay.find, selection=selection, after=after, limit=limit))
        again = partial(
            replay.replay, deliveries=found.done, states=selection.states, now=now, first_at=first_at, spacing=spacing
        )
        return Step(done=await self._write(again) if found.done else 0, next=found.next)

    async def redeliver(
        self,
        wanted: Sequence[tuple[str, Sequence[Target]]],
        *,
        states: Set[DeliveryState],
        now: datetime,
        first_at: datetime,
        spacing: timedelta,
        config: str,
    ) -> Redelivered:
        """See `Operator.redeliver`."""
        made = await self._write(
            partial(
                replay.redeliver,
                wanted=wanted,
                states=states,
                now=now,
                first_at=first_at,
                spacing=spacing,
                config=config,
            )
        )
        self._hints.tell(made.sinks)
        return made

    async def wish(self, sink: str, wish: Wish) -> None:
        """See `Operator.wish`."""
        await self._write(partial(switchboard.wish, sink=sink, wish=wish))

    # Lifetime

    async def recover(self, *, now: datetime) -> int:
        """See `Store.recover`. Other nodes may be at work: what they hold is given back when they are not heard of for
        some seconds."""
        given_back = await self._presence.join(now=to_micros(now))
        self._hints.listen()
        return given_back

    async def release(self, owner: str, *, now: datetime) -> int:
        """See `Store.release`."""
        return await self._write(partial(nodes.release, owner=owner, now=to_micros(now)))

    async def shared_time(self) -> datetime | None:
        """See `Store.shared_time`."""
        return from_micros(await self._writing.run(nodes.clock))

    def wake(self, sink: str) -> None:
        """See `Store.wake`."""
        self._hints.set(sink)

    async def bring_forward(self, sink: str, *, now: datetime, longest: timedelta, limit: int) -> int:
        """See `Store.bring_forward`."""
        wait = longest // _MICROSECOND
        latest = to_micros(now) + wait
        late = await self._reading.run(partial(replay.later, sink=sink, latest=latest, longest=wait, limit=limit))
        return await self._write(partial(replay.bring_forward, deliveries=late, latest=latest)) if late else 0

    async def purge(
        self, *, delivered_before: datetime, dead_before: datetime, after: int = 0, limit: int
    ) -> Step[int]:
        """See `Store.purge`."""
        delivered, dead = to_micros(delivered_before), to_micros(dead_before)
        found = await self._reading.run(
            partial(retention.old, delivered_before=delivered, dead_before=dead, after=after, limit=limit)
        )
        has_old_marks = await self._reading.run(partial(retention.has_old_marks, before=delivered))
        if not found.done and not has_old_marks:
            return Step(done=0, next=found.next)
        forget = partial(
            retention.forget,
            events=found.done,
            settled_before=max(delivered, dead),
            marks_before=delivered,
            limit=limit,
        )
        return Step(done=await self._write(partial(together, query=forget)), next=found.next)

    def health(self) -> Health:
        """See `Store.health`."""
        if self._closed or self._writer.failed.done():
            return Health(obstacle="closed" if self._closed else f"{self._writer.failed.result()}; restart the relay")
        return Health(obstacle=obstacle((self._accepting, self._writing, self._pulse)))

    async def failed(self) -> StoreUnavailable:
        """See `Store.failed`. A server that is away comes back, and is no reason to give up."""
        return await asyncio.shield(self._writer.failed)

    def on_commit(self, listener: Callable[[float], None]) -> None:
        """See `Store.on_commit`."""
        self._commit_listeners.append(listener)

    def on_recover(self, listener: Callable[[int], None]) -> None:
        """See `Store.on_recover`."""
        self._recover_listeners.append(listener)

    def on_checkpoint(self, listener: Callable[[Checkpoint], None]) -> None:
        """See `Store.on_checkpoint`. The server does its own."""

    async def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
        await self._writer.close()
        await self._hints.close()
        await self._presence.leave()
        await asyncio.gather(*(pool.close() for pool in (self._accepting, self._writing, self._reading, self._pulse)))

    def _committed(self, seconds: float) -> None:
        for listener in self._commit_listeners:
            listener(seconds)

    def _beat(self, beat: nodes.Beat) -> None:
        self._hints.alone = not beat.others
        if beat.given_back:
            for listener in self._recover_listeners:
                listener(beat.given_back)

    async def _write(self, query: Query[T]) -> T:
        started = perf_counter()
        result = await self._writing.run(query)
        self._committed(perf_counter() - started)
        return result
