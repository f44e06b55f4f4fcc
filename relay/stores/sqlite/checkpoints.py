"""Moving the log into the file, off the writer's path; a committer that does it itself makes senders wait."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import apsw

from relay.records import Checkpoint
from relay.stores.sqlite.connection import BUSY_TIMEOUT_MS
from relay.stores.sqlite.turns import Turns

LOG_LIMIT = 64 * 1024 * 1024
"""Bytes of log above which it is begun anew, for which writers wait a moment: under load they never leave it a gap. The
file keeps its size and is written over: one that grows with each commit makes the file system write more than the
commit. Twice as large, after somebody has read for long, it gives its room back."""
_RENEWAL_MS = 100
"""How long that waits for readers, and so writers for it."""
_PASSES, _FEW = 4, 250
"""Writers wait while what is left is moved: so what has come in meanwhile goes first, until that is a few frames."""


def log_bytes(path: Path) -> int:
    """The size of the log of the store at this path."""
    log = path.with_name(path.name + "-wal")
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0


def checkpoint(
    connection: apsw.Connection, path: Path, *, short_of_room: bool = False, turns: Turns | None = None
) -> Checkpoint:
    """Move what can be moved. BUSY: somebody still reads what is old, so the log grows until he ends.

    Where the disk is nearly full, a log that holds nothing any more gives its room back. With `turns` other processes
    write all the time, and the log is begun anew when it is our turn.
    """
    frames, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    if moved < frames:
        return Checkpoint.BUSY
    shrinks = log_bytes(path) > (0 if short_of_room else 2 * LOG_LIMIT)
    if not shrinks and frames * connection.pragma("page_size") <= LOG_LIMIT:
        return Checkpoint.OK
    for _ in range(_PASSES):
        before = frames
        frames, moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        if moved < frames:
            return Checkpoint.BUSY
        if frames < before and not shrinks:  # a writer has found nothing in it any more, and has begun it anew himself
            return Checkpoint.OK
        if frames - before < _FEW:
            break
    with turns or nullcontext():
        return _begin_log_anew(
            connection, apsw.SQLITE_CHECKPOINT_TRUNCATE if shrinks else apsw.SQLITE_CHECKPOINT_RESTART
        )


def _begin_log_anew(connection: apsw.Connection, mode: int) -> Checkpoint:
    connection.set_busy_timeout(_RENEWAL_MS)
    try:
        connection.wal_checkpoint(mode=mode)
    except apsw.BusyError:
        return Checkpoint.BUSY
    finally:
        connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    return Checkpoint.OK
