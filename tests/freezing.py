"""Processes that stand still for a while. Standard library only."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_SECONDS = 30.0
_STOPPED = frozenset("TtZX")


def freeze(*processes: int) -> None:
    """SIGSTOP, and return when they stand still. On a busy machine a process goes on after the signal until one of its
    threads gets a processor, which then stops the others; those that have ended meanwhile are no matter."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGSTOP)
    deadline = time.monotonic() + _SECONDS
    while not all(map(_stands_still, processes)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not all of {processes} stand still")
        time.sleep(0.001)


def thaw(*processes: int) -> None:
    """SIGCONT."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def _stands_still(process: int) -> bool:
    return all(state in _STOPPED for state in _states(process))


def _states(process: int) -> Iterable[str]:
    """Of each thread."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in Path(f"/proc/{process}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                yield (thread / "stat").read_text().rpartition(")")[2].split()[0]
