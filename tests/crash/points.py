"""The named points at which a relay dies: each puts itself around a function of the product, from outside.

A new point is one line in `POINTS`, and a function where none of the shapes `before`, `after` and `once_done` fits.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias

import apsw

from relay.gateway import Gateway
from relay.gateway.answers import Answer, Outcome
from relay.model import Acceptance, DeliveryState, Selection
from relay.sinks.file import FileSink
from relay.sinks.http import HttpSink
from relay.stores import sqlite
from relay.stores.migrations import Migration
from relay.stores.sqlite import SqliteStore, connection, intake, outbox
from relay.stores.sqlite.upkeep import Upkeep
from tests.crash.patching import wrap

_REPLAY_EVERY = 0.1
Function: TypeAlias = Callable[..., Any]

SERVE = ("serve", "--log-format", "json")


class Fuse:
    """Gets shorter at each passage; the last one kills the process, which nothing can catch."""

    def __init__(self, passages: int) -> None:
        self._left = passages

    def burn(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Point:
    """One point."""

    install: Callable[[Fuse], None]
    most: int = 40
    """The last passage that a relay under load surely reaches soon."""
    on_data: bool = False
    """Passed only where the store holds something already."""
    command: Sequence[str] = SERVE
    """The command of `relay` that passes it."""


# The shapes. `when` says of the result (of the arguments, for `before`) whether this passage counts.


def before(act: Callable[[], None], when: Function = lambda *_, **__: True) -> Function:
    """Act before the function does anything."""

    def wrapper(original: Function) -> Function:
        @wraps(original)
        def wrapped(*args: Any, **named: Any) -> Any:
            if when(*args, **named):
                act()
            return original(*args, **named)

        return wrapped

    return wrapper


def after(act: Callable[[], None], when: Function = lambda _: True) -> Function:
    """Act when the function has done all, before anybody hears of it."""

    def wrapper(original: Function) -> Function:
        @wraps(original)
        def wrapped(*args: Any, **named: Any) -> Any:
            result = original(*args, **named)
            if when(result):
                act()
            return result

        return wrapped

    return wrapper


def once_done(act: Callable[[], None], when: Function = lambda _: True) -> Function:
    """`after`, of a coroutine."""

    def wrapper(original: Function) -> Function:
        @wraps(original)
        async def wrapped(*args: Any, **named: Any) -> Any:
            result = await original(*args, **named)
            if when(result):
                act()
            return result

        return wrapped

    return wrapper


# Intake


def _any_new(acceptances: Sequence[Acceptance]) -> bool:
    return any(acceptance.duplicate is None for acceptance in acceptances)


def _is_accepted(answer: Answer) -> bool:
    return answer.outcome is Outcome.ACCEPTED


class _EventCommits:
    """Counts only the commits that hold an event: those somebody is about to hear of."""

    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse
        self._holds_event = False
        wrap(intake, "accept_all", after(self._event, _any_new))

    def _event(self) -> None:
        self._holds_event = True

    def committing(self) -> None:
        holds_event, self._holds_event = self._holds_event, False
        if holds_event:
            self._fuse.burn()


def _before_commit(fuse: Fuse) -> None:
    commits = _EventCommits(fuse)

    def hook() -> bool:
        commits.committing()
        return False

    wrap(sqlite, "open_file", _opened(lambda opened: opened.set_commit_hook(hook)))


def _after_commit(fuse: Fuse) -> None:
    """The log is written and synced; the thread has not yet told anybody."""
    commits = _EventCommits(fuse)

    def hook(_connection: apsw.Connection, _schema: str, _pages: int) -> int:
        commits.committing()
        return apsw.SQLITE_OK

    wrap(sqlite, "open_file", _opened(lambda opened: opened.set_wal_hook(hook)))


def _opened(told: Callable[[apsw.Connection], None]) -> Function:
    def wrapper(original: Function) -> Function:
        def open_file(*args: Any, **named: Any) -> apsw.Connection:
            opened: apsw.Connection = original(*args, **named)
            told(opened)
            return opened

        return open_file

    return wrapper


# Outbox and sinks


def _each_sink(shape: Function) -> None:
    for sink in (HttpSink, FileSink):
        wrap(sink, "deliver", shape)


def _is_dead(found: apsw.Connection, of: Any, *_: Any) -> bool:
    """Whether the delivery has just become a dead letter, in the transaction that is open."""
    state: str = found.execute("SELECT state FROM delivery WHERE id = ?", (of.id,)).get
    return state == "dead"


# The file


def _during_checkpoint(fuse: Fuse) -> None:
    """As soon as the first page of the log is in the file, and the call has not returned."""
    vars(sqlite)["_CHECKPOINT_EVERY"] = 0.02
    sys.setswitchinterval(0.0001)  # the one who watches must get its turn in time

    def wrapper(original: Function) -> Function:
        def checkpoint(upkeep: Upkeep, reading: apsw.Connection) -> object:
            ended = threading.Event()
            watching = threading.Thread(target=_burn_when_written, args=(upkeep._path, ended, fuse), daemon=True)
            watching.start()
            try:
                return original(upkeep, reading)
            finally:
                ended.set()
                watching.join()

        return checkpoint

    wrap(Upkeep, "checkpoint", wrapper)


def _burn_when_written(path: Path, ended: threading.Event, fuse: Fuse) -> None:
    unwritten = path.stat().st_mtime_ns
    while not ended.is_set():
        if path.stat().st_mtime_ns != unwritten:
            fuse.burn()
            return


NEXT_STEP = """
ALTER TABLE delivery ADD COLUMN remark TEXT NOT NULL DEFAULT '';
UPDATE delivery SET remark = sink;
CREATE INDEX delivery_remark ON delivery (remark);
DELETE FROM mark;"""
"""A migration that the product does not have: all that it does must be undone by the crash."""


def _during_migration(fuse: Fuse) -> None:
    def wrapper(original: Callable[[str], list[Migration]]) -> Callable[[str], list[Migration]]:
        def migrations(kind: str) -> list[Migration]:
            steps = original(kind)
            return [*steps, Migration(number=len(steps) + 1, sql=NEXT_STEP)]

        return migrations

    wrap(connection, "migrations", wrapper)
    _during_creation(fuse)


def _during_creation(fuse: Fuse) -> None:
    """Before one of the statements of a migration."""

    def tracer(_cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        if not statement.lstrip().upper().startswith(("BEGIN", "COMMIT", "PRAGMA")):
            fuse.burn()
        return True

    def wrapper(original: Callable[[apsw.Connection], None]) -> Callable[[apsw.Connection], None]:
        def migrate(opened: apsw.Connection) -> None:
            opened.exec_trace = tracer
            original(opened)
            opened.exec_trace = None

        return migrate

    wrap(connection, "_migrate", wrapper)


def _during_replay(fuse: Fuse) -> None:
    """Before one of the dead letters becomes pending again, while others of the same transaction are so already.

    The relay itself replays what is dead, again and again: a crash in the midst of it must find it taking events too.
    """
    tasks = set[asyncio.Task[None]]()

    async def replay_regularly(store: SqliteStore) -> None:
        dead = Selection(states=frozenset({DeliveryState.DEAD}))
        while True:
            now = datetime.now(UTC)
            await store.replay(dead, now=now, first_at=now, spacing=timedelta(0), limit=100)
            await asyncio.sleep(_REPLAY_EVERY)

    def wrapper(original: Callable[..., Awaitable[int]]) -> Callable[..., Awaitable[int]]:
        async def recover(store: SqliteStore, *, now: datetime) -> int:
            recovered = await original(store, now=now)
            tasks.add(asyncio.create_task(replay_regularly(store)))
            return recovered

        return recover

    def tracer(_cursor: apsw.Cursor, statement: str, _bindings: object) -> bool:
        if "replay = replay + 1" in statement:
            fuse.burn()
        return True

    def trace(opened: apsw.Connection) -> None:
        opened.exec_trace = tracer

    wrap(SqliteStore, "recover", wrapper)
    wrap(sqlite, "open_file", _opened(trace))


POINTS: dict[str, Point] = {
    "before_insert": Point(lambda fuse: wrap(intake, "accept_all", before(fuse.burn))),
    "after_insert": Point(lambda fuse: wrap(intake, "accept_all", after(fuse.burn, _any_new))),
    "before_commit": Point(_before_commit, most=20),
    "after_commit": Point(_after_commit, most=20),
    "before_ack": Point(lambda fuse: wrap(Gateway, "_accept", once_done(fuse.burn, _is_accepted))),
    "after_claim": Point(lambda fuse: wrap(SqliteStore, "claim", once_done(fuse.burn, bool)), most=20),
    "before_send": Point(lambda fuse: _each_sink(before(fuse.burn))),
    "after_send": Point(lambda fuse: _each_sink(once_done(fuse.burn))),
    "before_mark_done": Point(lambda fuse: wrap(outbox, "settle", before(fuse.burn)), most=20),
    "during_dlq_move": Point(lambda fuse: wrap(outbox, "_record", before(fuse.burn, _is_dead)), most=2),
    "during_checkpoint": Point(_during_checkpoint, most=5),
    "during_replay": Point(_during_replay, most=2),
    "during_recovery": Point(lambda fuse: wrap(outbox, "recover", after(fuse.burn)), most=1, on_data=True),
    "during_creation": Point(_during_creation, most=10),
    "during_migration": Point(_during_migration, most=4, on_data=True),
}
"""By the name of the point."""
