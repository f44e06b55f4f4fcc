"""Whose turn it is to write, among processes that write all the time.

SQLite lets a writer ask again and again until nobody else writes: one that has much to do leaves the others hardly a
gap. Here a lock of the system hands the turn on at once, and a second one keeps who has just written behind who waits.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType


class Turns:
    """A turn lasts as long as the `with`. For one thread; waits as long as it takes."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the files of the locks cannot be made."""
        self._next, self._now = (
            os.open(path.with_name(f"{path.name}-{name}"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            for name in ("next", "turn")
        )

    @staticmethod
    def are_taken(path: Path) -> bool:
        """Whether processes that take turns were ever at work there."""
        return path.with_name(f"{path.name}-turn").exists()

    def __enter__(self) -> None:
        fcntl.flock(self._next, fcntl.LOCK_EX)
        fcntl.flock(self._now, fcntl.LOCK_EX)
        fcntl.flock(self._next, fcntl.LOCK_UN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        fcntl.flock(self._now, fcntl.LOCK_UN)

    def close(self) -> None:
        """Take part no more."""
        os.close(self._next)
        os.close(self._now)
