"""The embedded store: one SQLite file, one writer thread, group commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import apsw

from relay.errors import StoreUnavailable
from relay.identity import new_owner
from relay.model import Acceptance, Admission, Delivery, Selection, Settled
from relay.records import Checkpoint, Grant, Health, Step
from relay.stores.hints import LocalHints
from relay.stores.rows import from_micros, to_micros
from relay.stores.sqlite import intake, ledger, outbox, pace, replay, switchboard
from relay.stores.sqlite.connection import connect, open_file
from relay.stores.sqlite.presence import Presence
from relay.stores.sqlite.reading import Reader, reads
from relay.stores.sqlite.room import FreeBytes, Room, free_bytes
from relay.stores.sqlite.turns import Turns
from relay.stores.sqlite.upkeep import Upkeep
from relay.stores.sqlite.writer import Writer, writes

log = logging.getLogger("relay")

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
        self._owner = owner or new_owner()
        self._presence: Presence | None = None
        self._reading = Reader(reading, thread="store-reader")
        self._hints = LocalHints()
        self._expects_others = not moves_log
        self._commit_listeners: list[Callable[[float], None]] = []
        # One for each thread: those of one file would let both pass.
        turns = Turns(path) if takes_turns else None
        self._turns = Turns(path) if takes_turns else None
        self._writer = Writer(writing, on_commit=self._committed, turns=turns)
        self._upkeep = Upkeep(
            path, room, read=self._reading.run, writer=self._writer, moves_log=moves_log, turns=self._turns
        )

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
                self._hints.set(target.sink)
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
            self._hints.set(delivery.sink)
        return settled

    async def wait(self, sink: str, *, timeout: float) -> None:
        """See `Outbox.wait`."""
        await self._hints.wait(sink, timeout=timeout)

    async def next_due(self, sink: str) -> datetime | None:
        """See `Outbox.next_due`."""
        due = await self._writer.submit(partial(outbox.next_due, sink=sink))
        return None if due is None else from_micros(due)

    # Switchboard

    wishes = reads(switchboard.wishes)
    report = writes(switchboard.report)

    async def withdraw(self, sink: str) -> None:
        """See `Switchboard.withdraw`."""

    async def take_seats(self, places: Collection[str]) -> Mapping[str, Grant]:
        """See `Switchboard.take_seats`. A file is one relay's; of its workers each has places of its own."""
        return dict.fromkeys(places, Grant())

    async def leave_seats(self, unused: Mapping[str, timedelta]) -> None:
        """See `Switchboard.leave_seats`."""

    # Ledger

    events = reads(ledger.events)
    event = reads(ledger.event)
    deliveries = reads(ledger.deliveries)
    ahead = reads(ledger.ahead)
    backlog = reads(ledger.backlog)
    totals = reads(ledger.totals)
    sinks = reads(switchboard.sinks)
    paces = reads(pace.paces)
    end = reads(ledger.end)
    tally = reads(ledger.tally)
    selected = reads(ledger.selected)

    # Operator

    redeliver = writes(replay.redeliver)
    wish = writes(switchboard.wish)

    async def replay(
        self, selection: Selection, *, now: datetime, first_at: datetime, spacing: timedelta, after: int = 0, limit: int
    ) -> Step[int]:
        """See `Operator.replay`."""
        found = await self._reading.run(partial(replay.find, selection=selection, after=after, limit=limit))
        again = partial(
            replay.replay, deliveries=found.done, states=selection.states, now=now, first_at=first_at, spacing=spacing
        )
        return Step(done=await self._writer.submit(again) if found.done else 0, next=found.next)

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

    async def shared_time(self) -> datetime | None:
        """See `Store.shared_time`: all who write to a file do so on one machine."""
        return None

    def wake(self, sink: str) -> None:
        """See `Store.wake`."""
        self._hints.set(sink)

    async def bring_forward(self, sink: str, *, now: datetime, longest: timedelta, limit: int) -> int:
        """See `Store.bring_forward`."""
        at, wait = to_micros(now), longest // timedelta(microseconds=1)
        late = await self._reading.run(partial(outbox.later, sink=sink, now=at, longest=wait, limit=limit))
        if not late:
            return 0
        return await self._writer.submit(partial(outbox.bring_forward, deliveries=late, latest=at + wait))

    async def purge(
        self, *, delivered_before: datetime, dead_before: datetime, after: int = 0, limit: int
    ) -> Step[int]:
        """See `Store.purge`."""
        delivered, dead = to_micros(delivered_before), to_micros(dead_before)
        found = await self._reading.run(
            partial(ledger.old, delivered_before=delivered, dead_before=dead, after=after, limit=limit)
        )
        has_old_marks = await self._reading.run(partial(ledger.has_old_marks, before=delivered))
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
        self._reading.stop()
        await self._upkeep.end()
        await self._writer.close()
        await self._reading.close()
        if self._turns is not None:
            self._turns.close()
        if self._presence is not None:
            self._presence.leave()
            self._presence = None

    def _committed(self, seconds: float) -> None:
        for listener in self._commit_listeners:
            listener(seconds)
