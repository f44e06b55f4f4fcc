"""A relay with a fault in it, and the real one in all else: `python -m tests.fakes.faulty FAULT serve …`."""

from __future__ import annotations

import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import apsw

from relay import cli
from relay.model import Acceptance, Admission
from relay.stores.migrations import migrations
from relay.stores.sqlite import SqliteStore, intake, marks
from relay.stores.sqlite.connection import connect, open_file
from relay.stores.sqlite.room import Room
from tests.fakes.failing_vfs import NAME, FailingVfs

DEADLY = b"deadly"
"""An event whose body holds this kills the thread that writes it."""
SYNCS_BEFORE = 10
"""So many syncs succeed first."""
FEW = 64
"""File descriptors."""


class Killed(BaseException):
    """Something that no handler of errors expects."""


def failing_sync(*, lasting: bool) -> None:
    """One sync of the store's file fails, or all from then on. Such a file has no shared memory, so one connection only
    may be open: the one that writes. What is read comes from an empty store."""
    vfs = FailingVfs()

    async def open_store(path: Path, *, create: bool = True, min_free: int = 0, **_: object) -> SqliteStore:
        open_file(path, create=create).close()
        connection = connect(path, vfs=NAME, exclusive=True)
        vfs.arm("sync", at=SYNCS_BEFORE, lasting=lasting)
        reading = apsw.Connection(":memory:")
        marks.register(reading)
        for step in migrations("sqlite"):
            reading.execute(step.sql)
        return SqliteStore(path, connection, reading, Room(path.parent, min_free=min_free))

    SqliteStore.open = staticmethod(open_store)  # type: ignore[method-assign]


def deadly_event() -> None:
    """The writer thread dies of one event."""
    real = intake.accept_all

    def accept_all(connection: apsw.Connection, admissions: Sequence[Admission]) -> Sequence[Acceptance]:
        if any(DEADLY in admission.event.body for admission in admissions):
            raise Killed
        return real(connection, admissions)

    intake.accept_all = accept_all


def few_descriptors() -> None:
    """No more files and connections than these."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, FEW))


FAULTS: dict[str, Any] = {
    "one-sync": lambda: failing_sync(lasting=False),
    "all-syncs": lambda: failing_sync(lasting=True),
    "deadly-event": deadly_event,
    "few-descriptors": few_descriptors,
}

if __name__ == "__main__":
    FAULTS[sys.argv.pop(1)]()
    cli.main()
