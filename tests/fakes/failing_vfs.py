"""A file system below SQLite whose Nth write or sync fails, once or for ever after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import apsw

NAME = "failing"


class FailingVfs(apsw.VFS):
    """Counts the calls named in `kinds`; the one with number `at` fails, and with `lasting` all that follow.

    It has no shared memory: one connection only, in exclusive mode.
    """

    def __init__(self) -> None:
        self.kinds: frozenset[str] = frozenset()
        self.at = 0
        self.lasting = False
        self.calls = 0
        super().__init__(NAME, "")

    def arm(self, *kinds: str, at: int, lasting: bool = False) -> None:
        """From now on: `at` counts from 1."""
        self.kinds, self.at, self.lasting, self.calls = frozenset(kinds), at, lasting, 0

    @property
    def failed(self) -> bool:
        """Whether a call has failed since it was armed."""
        return bool(self.kinds) and self.calls >= self.at

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self, name, flags)

    def check(self, kind: str) -> None:
        """Count one call, and fail if it is its turn."""
        if kind not in self.kinds:
            return
        self.calls += 1
        if self.calls == self.at or (self.lasting and self.calls > self.at):
            raise apsw.IOError(f"told to fail: {kind}")


class _File(apsw.VFSFile):
    def __init__(self, vfs: FailingVfs, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        super().__init__("", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        self._vfs.check("write")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._vfs.check("sync")
        super().xSync(flags)


@contextmanager
def failing_vfs() -> Iterator[FailingVfs]:
    """The file system, known to SQLite as `NAME` for as long as this lasts."""
    vfs = FailingVfs()
    try:
        yield vfs
    finally:
        vfs.unregister()
