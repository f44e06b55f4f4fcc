"""Whether there is room for more events: measured beside the answers, and tried out where a commit found none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import apsw

from relay.options import format_size

FreeBytes: TypeAlias = Callable[[Path], int]
"""Free space where a folder is. May raise OSError."""

_LOG_NEEDS = 16 * 1024 * 1024
"""Free space with which the log gets by; with less, space inside the file is no help."""
_MIB = 1024 * 1024
# It takes room and gives it back; what is rolled back, or fits into the page that is there, would prove nothing.
_PROBE = "CREATE TABLE probe (room BLOB); INSERT INTO probe VALUES (zeroblob(65536)); DROP TABLE probe"


def free_bytes(folder: Path) -> int:
    """What this user may still write where the folder is."""
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def probe(connection: apsw.Connection) -> None:
    """Take some room in the caller's transaction; raises where there is none."""
    connection.execute(_PROBE)


class Room:
    """Refuses new events before the disk is full, so that results of deliveries still find place.

    Space that was purged stays inside the file and is used again, so it counts as free, too.
    """

    def __init__(self, folder: Path, *, min_free: int = 0, measured_by: FreeBytes = free_bytes) -> None:
        self.free: int | None = None
        """Free bytes on the disk, as last measured; None: they could not be."""
        self.inside = 0
        """Free bytes inside the file."""
        self.full = False
        """Whether the last event that was to be committed found no room."""
        self._folder = folder
        self._min_free = min_free
        self._measured_by = measured_by

    def measure(self) -> None:
        """Look; may block for as long as a file system hangs."""
        try:
            self.free = self._measured_by(self._folder)
        except OSError:  # the folder is gone; the next commit says so
            self.free = None

    @property
    def shortage(self) -> str:
        """Why no new event may be taken, and what to do; empty where there is room."""
        if self.free is None or not self._min_free:
            return ""
        usable = self.free + self.inside if self.free >= _LOG_NEEDS else self.free
        if usable >= self._min_free:
            return ""
        return (
            f"only {usable / _MIB:.1f} MiB are free in {self._folder}, and gateway.min_free is "
            f"{format_size(self._min_free)}: new events are refused, deliveries go on; make room there, or lower it"
        )

    @property
    def obstacle(self) -> str:
        """The same, also where a commit has found the disk full."""
        if not self.shortage and self.full:
            return f"a commit found no room in {self._folder}; make room there: it is tried again every second"
        return self.shortage
