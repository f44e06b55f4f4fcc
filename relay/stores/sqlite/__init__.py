"""The embedded store: one SQLite file, one writer thread, group commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

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
from relay.records import (
    Backlog,
    Checkpoint,
    DeliveryRecord,
    EventRecord,
    Grant,
    Health,
    Redelivered,
    SinkRecord,
    Step,
    Tally,
)
from relay.stores.rows import from_micros, to_micros
from relay.stores.sqlite import intake, ledger, outbox, replay, sinks
from relay.stores.sqlite.connection import classify, connect, open_file
from relay.stores.sqlite.pace import paces
from relay.stores.sqlite.presence import Presence
from relay.stores.sqlite.room import FreeBytes, Room, free_bytes
from relay.stores.sqlite.turns import Turns
from relay.stores.sqlite.upkeep import Upkeep
from relay.stores.sqlite.writer import Writer

log = logging.getLogger("relay")

T = TypeVar("T")
_SHARED = (
    "another relay works on this file too, or one that was killed has not ended yet: each keeps rates and breakers by "
    "itself; stop one, or let them share a PostgreSQL database"
)


def _accept_all(connection: apsw.Connection, admissions: Sequence[Admission]) -> Sequence[Acceptance]:
    return intake.accept_all(connection, admissions)


class SqliteStore:
    """A `Store` in one file. Open it with `open`, in the event loop that will use it."""

    def __init__(
        self,
        path: Path,
        writing: apsw.Connection,
        reading: apsw.Connection,
        room: Room,
        *,
        owner: str | None = None,
        moves_log: bool = True,
        takes_turns: bool = False,
    ) -> None:
        self._path = path
        self._room = room
        self._closed = False
        self._owner = owner or new_owner()
        self._presence: Presence | None = None
        self._expects_others = not moves_log
        self._reading = reading
        self._reader = ThreadPoolExecutor(1, "store-reader")
        self._hints: dict[str, asyncio.Event] = {}
        self._commit_listeners: list[Callable[[float], None]] = []
        # One for each thread: those of one file would let both pass.
        turns = Turns(path) if takes_turns else None
        self._turns = Turns(path) if takes_turns else None
        self._writer = Writer(writing, on_commit=self._committed, turns=turns)
        self._upkeep = Upkeep(path, room, read=self._read, writer=self._writer, moves_log=moves_log, turns=self._turns)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        create: bool = True,
        min_free: int = 0,
        measured_by: FreeBytes = free_bytes,
        owner: str | None = None,
        moves_log: bool = True,
        takes_turns: bool = False,
    ) -> SqliteStore:
        """Open or create the file; raises StartError or StoreUnusable. With less than `min_free` bytes of free space
        no event is accepted. Without `moves_log` another process does the checkpoints; with `takes_turns` it
        leaves others their turn to write, who must do the same."""
        writing = await asyncio.to_thread(open_file, path, create=create)
        room = Room(path.parent, min_free=min_free, measured_by=measured_by)
        await asyncio.to_thread(room.measure)
        reading = await asyncio.to_thread(connect, path)
        takes_turns = takes_turns or (not create and Turns.are_taken(path))  # a tool stands in the queue as well
        return cls(path, writing, reading, room, owner=owner, moves_log=moves_log, takes_turns=takes_turns)

    # Intake

    async def accept(self, admission: Admission) -> Acceptance:
        """See `Intake.accept`."""
        if shortage := self._room.shortage:
            raise StoreUnavailable(f"store: {shortage}", kind="full")
        try:
            acceptance: Acceptance = await self._writer.submit_together(_accept_all, admission)
        except StoreUnavailable as error:
            self._room.full = self._room.full or error.kind == "full"
            raise
        self._room.full = False
        if acceptance.duplicate is None:
            for target in admission.targets:
                self._hint(target.sink).set()
        return acceptance

    # Outbox

    @property
    def tenure(self) -> int | None:
        """See `Outbox.tenure`. Leases of a process that lives are its own until they end."""
        return 0

    async def claim(
        self,
        sink: str,
        *,
        limit: int,
        newest: int = 0,
        now: datetime,
        lease: timedelta,
        seat: str | None = None,  # noqa: ARG002  every seat is ours
    ) -> Sequence[Delivery]:
        """See `Outbox.claim`."""
        return await self._writer.submit(
            partial(outbox.claim, sink=sink, limit=limit, newest=newest, now=now, lease=lease, owner=self._owner)
        )

    async def settle(self, results: Sequence[Settled], *, now: datetime) -> Sequence[bool]:
        """See `Outbox.settle`."""
        settled = await self._writer.submit(partial(outbox.settle, results=results, now=now))
        for delivery, _ in results:  # the next one of its meeting may have come due
            self._hint(delivery.sink).set()
        return settled

    async def wait(self, sink: str, *, timeout: float) -> None:
        """See `Outbox.wait`."""
        hint = self._hint(sink)
        try:
            async with asyncio.timeout(timeout):
                await hint.wait()
        except TimeoutError:
            return
        finally:
            hint.clear()

    async def shared_time(self) -> datetime | None:
        """See `Store.shared_time`: all who write to a file do so on one machine."""
        return None

    def wake(self, sink: str) -> None:
        """See `Store.wake`."""
        self._hint(sink).set()

    async def next_due(self, sink: str) -> datetime | None:
        """See `Outbox.next_due`."""
        due = await self._writer.submit(partial(outbox.next_due, sink=sink))
        return None if due is None else from_micros(due)

    # Switchboard

    async def wishes(self) -> Mapping[str, Wish]:
        """See `Switchboard.wishes`."""
        return await self._read(sinks.wishes)

    async def report(self, sink: str, state: GateState, failure: Failure | None, *, now: datetime) -> None:
        """See `Switchboard.report`."""
        await self._writer.submit(partial(sinks.report, sink=sink, state=state, failure=failure, now=now))

    async def withdraw(self, sink: str) -> None:
        """See `Switchboard.withdraw`."""

    async def take_seats(self, places: Collection[str]) -> Mapping[str, Grant]:
        """See `Switchboard.take_seats`. A file is one relay's; of its workers each has places of its own."""
        return dict.fromkeys(places, Grant())

    async def leave_seats(self, unused: Mapping[str, timedelta]) -> None:
        """See `Switchboard.leave_seats`."""

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
        return await self._read(ledger.end)

    async def tally(self, selection: Selection) -> Sequence[Tally]:
        """See `Ledger.tally`."""
        return await self._read(partial(ledger.tally, selection=selection))

    async def selected(self, selection: Selection, *, after: int = 0, limit: int) -> Step[Sequence[EventRecord]]:
        """See `Ledger.selected`."""
        return await self._read(partial(ledger.selected, selection=selection, after=after, limit=limit))

    async def ahead(self, delivery_id: int) -> DeliveryRecord | None:
        """See `Ledger.ahead`."""
        return await self._read(partial(ledger.ahead, delivery_id=delivery_id))

    # Operator

    async def replay(
        self, selection: Selection, *, now: datetime, first_at: datetime, spacing: timedelta, after: int = 0, limit: int
    ) -> Step[int]:
        """See `Operator.replay`."""
        found = await self._read(partial(replay.find, selection=selection, after=after, limit=limit))
        again = partial(
            replay.replay, deliveries=found.done, states=selection.states, now=now, first_at=first_at, spacing=spacing
        )
        return Step(done=await self._writer.submit(again) if found.done else 0, next=found.next)

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
        return await self._writer.submit(
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

    async def wish(self, sink: str, wish: Wish) -> None:
        """See `Operator.wish`."""
        await self._writer.submit(partial(sinks.wish, sink=sink, wish=wish))

    # Lifetime

    async def recover(self, *, now: datetime) -> int:
        """See `Store.recover`. It knows only whether anybody else is there at all: if so, leases just run out."""
        if self._presence is None:
            self._presence = await asyncio.to_thread(Presence, self._path)
        with self._presence.joining() as alone:
            if not alone:
                if not self._expects_others:
                    log.warning("store.shared", extra={"store": str(self._path), "detail": _SHARED})
                return 0
            return await self._writer.submit(partial(outbox.recover, now=to_micros(now), owner=self._owner))

    async def release(self, owner: str, *, now: datetime) -> int:
        """See `Store.release`."""
        return await self._writer.submit(partial(outbox.release, now=to_micros(now), owner=owner))

    async def bring_forward(self, sink: str, *, now: datetime, longest: timedelta, limit: int) -> int:
        """See `Store.bring_forward`."""
        at, wait = to_micros(now), longest // timedelta(microseconds=1)
        late = await self._read(partial(outbox.later, sink=sink, now=at, longest=wait, limit=limit))
        if not late:
            return 0
        return await self._writer.submit(partial(outbox.bring_forward, deliveries=late, latest=at + wait))

    async def purge(
        self, *, delivered_before: datetime, dead_before: datetime, after: int = 0, limit: int
    ) -> Step[int]:
        """See `Store.purge`."""
        delivered, dead = to_micros(delivered_before), to_micros(dead_before)
        found = await self._read(
            partial(ledger.old, delivered_before=delivered, dead_before=dead, after=after, limit=limit)
        )
        has_old_marks = await self._read(partial(ledger.has_old_marks, before=delivered))
        if not found.done and not has_old_marks:
            return Step(done=0, next=found.next)
        forget = partial(
            ledger.forget, events=found.done, settled_before=max(delivered, dead), marks_before=delivered, limit=limit
        )
        return Step(done=await self._writer.submit(forget), next=found.next)

    def health(self) -> Health:
        """See `Store.health`."""
        obstacle = self._room.obstacle if self._writer.alive else f"{self._writer.ending}; the relay must be restarted"
        return Health(obstacle=obstacle, free_bytes=self._room.free, log_bytes=self._upkeep.log_bytes)

    async def failed(self) -> StoreUnavailable:
        """See `Store.failed`."""
        return await asyncio.shield(self._writer.failed)

    def on_commit(self, listener: Callable[[float], None]) -> None:
        """See `Store.on_commit`."""
        self._commit_listeners.append(listener)

    def on_recover(self, listener: Callable[[int], None]) -> None:
        """See `Store.on_recover`. It is found out by `recover` and `release` only."""

    def on_checkpoint(self, listener: Callable[[Checkpoint], None]) -> None:
        """See `Store.on_checkpoint`."""
        self._upkeep.listeners.append(listener)

    async def close(self) -> None:
        """See `Store.close`."""
        self._closed = True
        await self._upkeep.end()
        await self._writer.close()
        await asyncio.to_thread(self._reader.shutdown)
        self._reading.close()
        if self._turns is not None:
            self._turns.close()
        if self._presence is not None:
            self._presence.leave()
            self._presence = None

    def _hint(self, sink: str) -> asyncio.Event:
        return self._hints.setdefault(sink, asyncio.Event())

    def _committed(self, seconds: float) -> None:
        for listener in self._commit_listeners:
            listener(seconds)

    async def _read(self, query: Callable[[apsw.Connection], T]) -> T:
        if self._closed:
            raise StoreUnavailable("store: closed", kind="closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, query, self._reading)
        except apsw.Error as error:
            raise classify(error) from error
