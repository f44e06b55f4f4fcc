"""Who else works on the same file, told by a lock beside it: a lock of the system ends with its process, however that
ends. It is a file of its own because closing a second handle on the database would drop SQLite's own locks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep

from relay.errors import StartError

_TRIES, _PAUSE = 600, 0.05


class Presence:
    """A process at work on a file. Every one holds the lock together with all others."""

    def __init__(self, path: Path) -> None:
        """Raises OSError where the lock file cannot be made."""
        name = path.with_name(path.name + "-lock")
        self._descriptor = os.open(name, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)

    @contextmanager
    def joining(self) -> Iterator[bool]:
        """Join; whether nobody else is at work is known, and stays so, until the end of the `with`. Blocks while
        another process is at this very point. Raises StartError where one stays there: it copies the whole store."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        try:
            yield alone
        finally:
            self._share()

    def _share(self) -> None:
        for _ in range(_TRIES):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                sleep(_PAUSE)
            else:
                return
        raise StartError("store: it is being copied; wait for the end of `relay store copy`")

    def leave(self) -> None:
        """At work no more."""
        os.close(self._descriptor)
