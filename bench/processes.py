"""Servers as processes of their own, each pinned to one core, and what the system knows about them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from relay.model import value

START_TIME = 60.0
_POLL = 0.005
_TICKS = os.sysconf("SC_CLK_TCK")
_ROOT = Path(__file__).parents[1]


class NotRunning(RuntimeError):
    """A server ended, or does not listen; the message holds the end of what it wrote."""


@value
class Cores:
    """Which core is whose."""

    server: int
    """That which is measured, alone."""
    load: int
    """Everything else: the load, the receivers, the broker, and who watches."""

    @classmethod
    def choose(cls) -> Cores:
        """The first two that this process may use; with a single one, everything shares it."""
        allowed = sorted(os.sched_getaffinity(0))
        return cls(server=allowed[0], load=allowed[-1])

    @property
    def all(self) -> Sequence[int]:
        """Both."""
        return sorted({self.server, self.load})

    def watch(self) -> None:
        """Move this process, and all that it starts without `Process`, to the core of the load."""
        os.sched_setaffinity(0, {self.load})


class Process:
    """A server that runs, with all the processes that it started."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.pid = process.pid

    def cpu(self) -> float:
        """Seconds of processor time so far, user's and system's, of all threads of all its processes."""
        return sum(_cpu(pid) for pid in tree(self.pid))

    def memory(self) -> float:
        """MiB that are resident now."""
        return sum(_status(pid, "VmRSS") for pid in tree(self.pid)) / 1024

    def peak_memory(self) -> float:
        """The most MiB that were ever resident."""
        return sum(_status(pid, "VmHWM") for pid in tree(self.pid)) / 1024

    def descriptors(self) -> int:
        """Open file descriptors."""
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in tree(self.pid))

    def threads(self) -> int:
        """Threads of the system."""
        return sum(_status(pid, "Threads") for pid in tree(self.pid))

    def told(self) -> str:
        """The end of what it wrote."""
        return self._log.read_text(errors="replace")[-2000:]

    def wait_for_port(self, port: int) -> None:
        """Return when it listens there."""
        deadline = time.monotonic() + START_TIME
        while not _listens(port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise NotRunning(f"{self._process.args!r} does not listen on {port}:\n{self.told()}")
            time.sleep(_POLL)

    def kill(self) -> None:
        """SIGKILL to all of them: an orderly end would wait for sinks that hang, and nothing is measured after it."""
        for pid in tree(self.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()


@contextmanager
def started(
    command: Sequence[str],
    *,
    cores: Sequence[int],
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path = _ROOT,
) -> Iterator[Process]:
    """Run a command on these cores until the end of the block; what it writes goes to `log`."""
    pinned = ("taskset", "-c", ",".join(map(str, cores)), *command)
    surroundings = os.environ | {"PYTHONPATH": str(_ROOT), "PYTHONUTF8": "1", **(env or {})}
    with log.open("wb") as writing:
        running = subprocess.Popen(
            pinned, stdin=subprocess.DEVNULL, stdout=writing, stderr=writing, env=surroundings, cwd=cwd
        )
    process = Process(running, log)
    try:
        yield process
    finally:
        process.kill()


def tree(pid: int) -> Sequence[int]:
    """A process and its descendants, as far as they live."""
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        found.append(parent)
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            waiting += map(int, children.read_text().split())
    return found


def busy(core: int) -> tuple[float, float]:
    """Seconds that this core has been at work, for anybody, and that it has been there at all."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name == f"cpu{core}":
            user, nice, system, idle, waiting, interrupts, soft, stolen = map(int, ticks[:8])
            working = user + nice + system + interrupts + soft + stolen
            return working / _TICKS, (working + idle + waiting) / _TICKS
    raise LookupError(f"/proc/stat has no core {core}")


def _cpu(pid: int) -> float:
    # https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: the name may hold anything, so count from its end.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(f"{name}:")))


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
