"""A PostgreSQL server for a measurement: as it comes, its data on the disk on which the stores are, and what it costs.

Its processor time is that of all its processes: those that serve connections, write its log and its pages, and vacuum.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlsplit

from bench.postgres.seeding import seed
from bench.processes import tree
from tests import postgres
from tests.postgres.server import Server

_SETTINGS: Mapping[str, str] = {
    "shared_buffers": "256MB",
    # Each turn has a checkpoint before it and none in it: what one costs depends on when it comes.
    "checkpoint_timeout": "1h",
    "max_wal_size": "16GB",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "wal_level": "replica",
}
LOG_BYTES = "SELECT (pg_current_wal_insert_lsn() - '0/0')::BIGINT"
"""How much the server has written to its write-ahead log so far."""
_TICKS = os.sysconf("SC_CLK_TCK")
_PATIENCE, _POLL = 10.0, 0.05
_TIME = 600.0


class Database:
    """One server, and databases on it."""

    def __init__(self, within: Path) -> None:
        """Its data goes into a folder within that one. Raises NoPostgres."""
        within.parent.chmod(within.parent.stat().st_mode | 0o111)  # it may run as another user
        within.chmod(within.stat().st_mode | 0o111)
        self._server = Server("debian", _SETTINGS, within=within)

    def __enter__(self) -> Database:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()

    def pin(self, cores: Sequence[int]) -> None:
        """Let it run on these; connections that are made later do too."""
        for pid in tree(self._server.pid):
            with suppress(ProcessLookupError):
                os.sched_setaffinity(pid, cores)

    def cpu(self) -> float:
        """Seconds of processor time so far, of processes that have ended too."""
        first = self._server.pid
        ended = sum(map(int, Path(f"/proc/{first}/stat").read_text().rpartition(")")[2].split()[13:15])) / _TICKS
        return ended + sum(map(_worked, tree(first)))

    def log_bytes(self) -> int:
        """How much it has written to its write-ahead log so far."""
        return int(self._ask(LOG_BYTES))

    def flushes(self) -> int:
        """How often it has made its log safe so far. Connections tell it when they end."""
        deadline = monotonic() + _PATIENCE
        while self._ask("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dyte-relay'"):
            if monotonic() > deadline:
                raise TimeoutError("a relay's connection does not end")
            sleep(_POLL)
        return int(self._ask("SELECT wal_sync FROM pg_stat_wal"))

    def checkpoint(self) -> None:
        """Write everything out, so that nobody pays later for what is past."""
        asyncio.run(_execute(self._server.url(), "CHECKPOINT"))

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """A new database with the relay's schema; gone afterwards."""
        url = asyncio.run(postgres.create(self._server.url(), schema=True))
        with self._kept(url):
            yield url

    @contextmanager
    def seeded(self, count: int) -> Iterator[str]:
        """One in which so many events wait."""
        with self.fresh() as url:
            asyncio.run(seed(url, count))
            self.checkpoint()
            yield url

    @contextmanager
    def copied(self, url: str) -> Iterator[str]:
        """A copy of one that nobody uses."""
        source = urlsplit(url).path[1:]
        copy = f"copy_of_{source}"
        asyncio.run(_execute(self._server.url(), f'CREATE DATABASE "{copy}" TEMPLATE "{source}" STRATEGY FILE_COPY'))
        with self._kept(self._server.url(copy)):
            yield self._server.url(copy)

    @contextmanager
    def _kept(self, url: str) -> Iterator[None]:
        self.checkpoint()
        yield
        asyncio.run(postgres.drop(url))

    def _ask(self, query: str) -> Any:
        [[answer]] = asyncio.run(postgres.fetch(self._server.url(), query))
        return answer


async def _execute(url: str, statement: str) -> None:
    async with postgres.connected(url) as connection:
        await connection.execute(statement, timeout=_TIME)


def _worked(pid: int) -> float:
    """Seconds, more exactly than in ticks. A connection may have ended meanwhile."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
