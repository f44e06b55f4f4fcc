"""Power cuts, played below SQLite: a file system that remembers what was written and what was synced.

At the cut, what was synced is on the disk; of what was written and not synced, any part may be, in any order, torn at
any sector. Python's file systems have no shared memory, so the store runs on one connection in exclusive mode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import apsw

from relay.model import Delivered
from relay.stores.sqlite import SqliteStore, intake, outbox
from relay.stores.sqlite.connection import _migrate, connect
from relay.stores.sqlite.writer import Writer
from tests.fakes.admissions import NOON, admission

SECTOR = 512
SENDERS = 4
EVENTS = 40
SINKS = ("crm", "audit")
_LEASE = timedelta(minutes=1)


@dataclass
class Content:
    """One file: what the disk has for sure, and what it may have."""

    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Offset and data; without data, a new length."""

    def sync(self) -> None:
        self.durable = _applied(self.durable, self.pending)
        self.pending = []

    def copy(self) -> Content:
        return Content(self.durable, list(self.pending))

    def found(self, dice: Random) -> bytes:
        """What a machine may find after the cut."""
        survivors = [_torn(write, dice) for write in self.pending if dice.random() < 0.5]
        return _applied(self.durable, survivors)


class Disk(apsw.VFS):
    """The file system. `cut_at` names the write or sync, counted from 1, before which the power fails."""

    def __init__(self, name: str, *, cut_at: int, when_cut: Callable[[], None]) -> None:
        super().__init__(name, "")
        self.name = name
        self.files: dict[str, Content] = {}
        self.calls = 0
        self.image: dict[str, Content] | None = None
        self._cut_at = cut_at
        self._when_cut = when_cut

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def xDelete(self, name: str, sync_folder: bool) -> None:  # noqa: FBT001, N802
        super().xDelete(name, sync_folder)
        self.files.pop(name, None)

    def count(self) -> None:
        """One more write or sync is about to happen."""
        self.calls += 1
        if self.calls == self._cut_at:
            self.cut()

    def cut(self) -> None:
        """The power fails now; what the program goes on to do nobody will ever see."""
        if self.image is None:
            self.image = {name: content.copy() for name, content in self.files.items()}
            self._when_cut()


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        super().__init__("", name, flags)
        self._disk = disk
        self._content = disk.files.setdefault(path, Content())

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._disk.count()
        self._content.pending.append((offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._disk.count()
        self._content.pending.append((size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.count()
        super().xSync(flags)
        self._content.sync()


@dataclass(frozen=True)
class Aftermath:
    """What is left after one cut."""

    acknowledged: frozenset[str]
    """Ids of the events that were answered before the cut."""
    stored: frozenset[str]
    whole: bool
    """The file is sound, and each event in it has its mark and all its deliveries."""
    calls: int

    @property
    def lost(self) -> frozenset[str]:
        return self.acknowledged - self.stored


async def cut_once(
    folder: Path, seed: int, *, of: int, synchronous: str = "full", answer_first: bool = False
) -> Aftermath:
    """Run the store under load on a disk whose power fails at one of about `of` writes, and look at what it left.

    `synchronous` and `answer_first` break the promise on purpose: a check that cannot fail proves nothing.
    """
    dice = Random(seed)
    answered: list[str] = []
    at_the_cut: list[str] = []
    with _disk(f"power-{seed}", cut_at=dice.randint(1, of), when_cut=lambda: at_the_cut.extend(answered)) as disk:
        connection = await asyncio.to_thread(_opened, folder / "relay.db", disk, synchronous)
        writer = Writer(connection)
        events = iter(range(EVENTS))
        await asyncio.gather(*(_send(writer, events, answered, answer_first=answer_first) for _ in range(SENDERS)))
        disk.cut()  # where it had fewer writes than were thought
        await writer.close()
    found = folder / "found"
    await asyncio.to_thread(_write_image, disk, found, dice)
    return await _look(found / "relay.db", frozenset(at_the_cut), disk.calls)


@contextmanager
def _disk(name: str, *, cut_at: int, when_cut: Callable[[], None]) -> Iterator[Disk]:
    disk = Disk(name, cut_at=cut_at, when_cut=when_cut)
    try:
        yield disk
    finally:
        disk.unregister()


def _opened(path: Path, disk: Disk, synchronous: str) -> apsw.Connection:
    connection = connect(path, vfs=disk.name, exclusive=True)
    connection.pragma("synchronous", synchronous)
    connection.pragma("wal_autocheckpoint", 64)  # often, so that cuts hit it: the relay's own timer is too slow here
    _migrate(connection)
    return connection


async def _send(writer: Writer, events: Iterator[int], answered: list[str], *, answer_first: bool) -> None:
    """Accept events one after the other, and now and then deliver some."""
    for number in events:
        given = admission(*SINKS)
        if answer_first:
            answered.append(given.event.id)
        await writer.submit(partial(intake.accept_all, admissions=[given]))
        if not answer_first:
            answered.append(given.event.id)
        if number % 5 == 4:
            now = NOON
            claimed = await writer.submit(
                partial(outbox.claim, sink="crm", limit=3, newest=0, now=now, lease=_LEASE, owner="power")
            )
            results = [(delivery, Delivered(receipt="200")) for delivery in claimed]
            await writer.submit(partial(outbox.settle, results=results, now=now))


def _write_image(disk: Disk, folder: Path, dice: Random) -> None:
    folder.mkdir()
    for name, content in (disk.image or {}).items():
        (folder / Path(name).name).write_bytes(content.found(dice))


async def _look(path: Path, acknowledged: frozenset[str], calls: int) -> Aftermath:
    store = await SqliteStore.open(path)
    try:
        events = await store.events(limit=10 * EVENTS)
        deliveries = await store.deliveries(limit=10 * EVENTS)
    finally:
        await store.close()
    stored = [record.event.id for record in events]
    pairs = {(delivery.event_id, delivery.sink) for delivery in deliveries}
    whole = pairs == {(event_id, sink) for event_id in stored for sink in SINKS}
    return Aftermath(acknowledged, frozenset(stored), whole and _is_sound(path, stored), calls)


def _is_sound(path: Path, stored: list[str]) -> bool:
    connection = apsw.Connection(str(path))
    try:
        marked = {row[0] for row in connection.execute("SELECT event_id FROM mark")}
        return connection.pragma("integrity_check") == "ok" and marked == set(stored)
    finally:
        connection.close()


def _applied(base: bytes, writes: list[tuple[int, bytes | None]]) -> bytes:
    held = bytearray(base)
    for offset, data in writes:
        end = offset if data is None else offset + len(data)
        held.extend(b"\0" * (end - len(held)))
        if data is None:
            del held[offset:]
        else:
            held[offset:end] = data
    return bytes(held)


def _torn(write: tuple[int, bytes | None], dice: Random) -> tuple[int, bytes | None]:
    """One write in three reaches the disk only up to a sector in its middle."""
    offset, data = write
    if data is None or len(data) <= SECTOR or dice.random() < 2 / 3:
        return write
    return offset, data[: SECTOR * dice.randrange(1, len(data) // SECTOR + 1)]
