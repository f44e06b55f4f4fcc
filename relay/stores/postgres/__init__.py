"""The store for several nodes: one PostgreSQL database, in which they find each other's work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import datetime, timedelta
from functools import partial
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
from relay.records import Backlog, Checkpoint, DeliveryRecord, EventRecord, Health, Redelivered, SinkRecord, Step, Tally
from relay.stores.postgres import horizon, ledger, sinks
from relay.stores.postgres.connection import READING_MS, TROUBLE, WRITING_MS, connect, refusal
from relay.stores.postgres.pace import paces
from relay.stores.postgres.pool import Pool, Query
from relay.stores.postgres.schema import check, migrate
from relay.stores.postgres.server import Server, parse

T = TypeVar("T")

_READERS, _WRITERS = 2, 4


class PostgresStore:
    """A `Store` in a database. Open it with `open`, in the event loop that will use it."""

    def __init__(self, server: Server, *, owner: str | None = None) -> None:
        self._server = server
        self._owner = owner or new_owner()
        self._reading = Pool(server, size=_READERS, statement_ms=READING_MS, reads=True)
        self._writing = Pool(server, size=_WRITERS, statement_ms=WRITING_MS)
        self._hints: dict[str, asyncio.Event] = {}
        self._commit_listeners: list[Callable[[float], None]] = []

    @classmethod
    async def open(cls, url: str, *, create: bool = True, owner: str | None = None) -> PostgresStore:
        """Connect, and create or migrate the schema; raises StartError or StoreUnusable."""
        server = parse(url)
        try:
            connection = await connect(server)
            try:
                if await check(connection, server, create=create) < 1 or create:
                    await migrate(connection)
            finally:
                connection.terminate()
        except TROUBLE as error:
            raise refusal(error, server) from error
        return cls(server, owner=owner)

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
        return await self._read(
            partial(ledger.events, type_glob=type_glob, meeting=meeting, source=source, state=state, limit=limit)
        )

    async def event(self, event_id: str) -> EventRecord | None:
        """See `Ledger.event`."""
        return await self._read(partial(ledger.event, event_id=event_id))

    async def deliveries(
        self,
        *,
        event_id: str | None = None,
        sink: str | None = None,
        state: DeliveryState | None = None,
        meeting: str | None = None,
        limit: int = 50,
    ) -> Sequence[DeliveryRecord]:
        """See `Ledger.deliveries`."""
        return await self._read(
            partial(ledger.deliveries, event_id=event_id, sink=sink, state=state, meeting=meeting, limit=limit)
        )

    async def backlog(self) -> Mapping[str, Backlog]:
        """See `Ledger.backlog`."""
        return await self._read(ledger.backlog)

    async def totals(self) -> Mapping[str, int]:
        """See `Ledger.totals`."""
        return await self._read(ledger.totals)

    async def sinks(self) -> Sequence[SinkRecord]:
        """See `Ledger.sinks`."""
        return await self._read(sinks.sinks)

    async def paces(self, *, now: datetime) -> Mapping[str, float]:
        """See `Ledger.paces`."""
        return await self._read(partial(paces, now=now))

    async def end(self) -> int:
        """See `Ledger.end`."""
        return await self._read(horizon.end)

    async def tally(self, selection: Selection) -> Sequence[Tally]:
        """See `Ledger.tally`."""
        return await self._read(partial(ledger.tally, selection=selection))

    async def selected(self, selection: Selection, *, after: int = 0, limit: int) -> Step[Sequence[EventRecord]]:
        """See `Ledger.selected`."""
        return await self._read(partial(ledger.selected, selection=selection, after=after, limit=limit))

    async def ahead(self, delivery_id: int) -> DeliveryRecord | None:
        """See `Ledger.ahead`."""
        return await self._read(partial(ledger.ahead, delivery_id=delivery_id))

    # Lifetime

    async def close(self) -> None:
        """See `Store.close`."""
        await self._writing.close()
        await self._reading.close()

    async def _read(self, query: Query[T]) -> T:
        return await self._reading.run(query)
