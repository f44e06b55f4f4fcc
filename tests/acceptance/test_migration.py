"""A store of an older relay, with a backlog: brought up to date step by step, each of them done or not begun."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import apsw

from relay.stores.migrations import migrations
from relay.stores.sqlite.connection import open_file
from tests.acceptance.process import environment, serving_file
from tests.fakes.keys import key_pair
from tests.running import sender, until, write_config
from tests.scale.seed import Seeded, seed

EVENTS = 5_000
FILE = {"audit": {"type": "file", "path": "/dev/null", "enabled": False}}


def described(path: Path) -> tuple[int, frozenset[str]]:
    """The schema's number and what it consists of; the file is whole, and all deliveries are there."""
    connection = apsw.Connection(str(path))
    try:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.execute("SELECT count(*) FROM delivery WHERE state = 'pending'").get == EVENTS
        parts = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL").fetchall()
        return int(str(connection.pragma("user_version"))), frozenset(str(sql) for (sql,) in parts)
    finally:
        connection.close()


def replaced(store: Path, *, by: Path) -> None:
    """Another file, without the log of the last one."""
    for rest in store.parent.glob(store.name + "*"):
        rest.unlink()
    shutil.copy(by, store)


async def killed_while_it_migrates(file: Path, store: Path, *, written: int) -> None:
    """Start a relay, and kill it once it has written so many bytes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", "serve", "-c", str(file)),
        env=environment(), cwd=file.parent, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    log = store.with_name(store.name + "-wal")

    async def writes() -> bool:
        return log.exists() and log.stat().st_size >= written

    try:
        await until(writes, "log of the migration")
    finally:
        process.kill()
        assert await process.wait() == -signal.SIGKILL


async def test_a_kill_during_a_migration_leaves_it_done_or_not_begun(tmp_path: Path) -> None:
    key_pair()  # made before a process is waited for
    file, store, old = write_config(tmp_path, sinks=FILE), tmp_path / "relay.db", tmp_path / "old.db"
    seed(old, events=EVENTS, sinks=[Seeded("audit", ordered=True)], oldest=datetime.now(UTC), schema=1)
    stages = [described(old)]
    for schema in range(2, len(migrations("sqlite")) + 1):
        stage = tmp_path / f"{schema}.db"
        seed(stage, events=EVENTS, sinks=[Seeded("audit", ordered=True)], oldest=datetime.now(UTC), schema=schema)
        stages.append(described(stage))
    for written in (1, 100_000):
        replaced(store, by=old)
        await killed_while_it_migrates(file, store, written=written)
        assert described(store) in stages
    async with serving_file(file) as process, sender(f"http://{process.gateway}") as posting:
        assert (await posting.post()).status == 200
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0


def test_a_migrated_store_is_like_a_new_one(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    seed(old, events=EVENTS, sinks=[Seeded("audit", ordered=True)], oldest=datetime.now(UTC), schema=1)
    seed(new, events=EVENTS, sinks=[Seeded("audit", ordered=True)], oldest=datetime.now(UTC))
    open_file(old, create=True).close()
    assert described(old) == described(new)
