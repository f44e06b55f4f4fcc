"""Whether the files of a configuration have changed, found by looking: that also works on network file systems, and
where a mounted folder is replaced as a whole, as Kubernetes does with its ConfigMaps and secrets."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TypeAlias

_Mark: TypeAlias = tuple[int, int, int, int] | None


class Watch:
    """Some files, as they were when they were last read."""

    def __init__(self, files: Collection[Path]) -> None:
        """Takes the files as they are now: make it before they are read, and no change is missed."""
        self.files = sorted(files)
        """In no order that matters to anybody else."""
        self._read = self._seen = self._look()

    def changed(self) -> bool:
        """Whether the files are others than when they were read, and the same as at the last look: somebody who still
        writes is left to finish."""
        before, self._seen = self._seen, self._look()
        return self._seen == before and self._seen != self._read

    def follow(self, files: Collection[Path]) -> None:
        """Watch these too, or no longer: what a reading found in the file may name other files."""
        known = dict(zip(self.files, self._read, strict=True))
        self.files = sorted(files)
        self._seen = self._look()
        self._read = [known.get(file, mark) for file, mark in zip(self.files, self._seen, strict=True)]

    def _look(self) -> list[_Mark]:
        return [_mark(file) for file in self.files]


def _mark(file: Path) -> _Mark:
    """What changes with a file's content; None for a file that is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
