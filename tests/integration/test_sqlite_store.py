"""The SQLite store's file: what it opens, what it refuses untouched, and what a full or locked one means."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from relay.errors import StartError, StoreUnavailable, StoreUnusable
from relay.payload import Defect
from relay.records import Checkpoint
from relay.stores import open_store
from relay.stores.migrations import Migration, migrations
from relay.stores.sqlite import SqliteStore, connection
from relay.stores.sqlite.checkpoints import checkpoint
from relay.stores.sqlite.connection import APPLICATION_ID, connect
from relay.stores.sqlite.upkeep import Upkeep
from tests.fakes.admissions import NOON, admission

LEASE = timedelta(seconds=60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


async def made(path: Path, *sinks: str) -> str:
    """A store with one event, closed again; the event's id."""
    store = await SqliteStore.open(path)
    given = admission(*sinks)
    await store.accept(given)
    await store.close()
    return given.event.id


def content(path: Path) -> dict[str, bytes]:
    """Every file of the folder that holds something. Looking at a log leaves an empty one, and shared memory."""
    files = {file.name: file.read_bytes() for file in path.parent.iterdir() if not file.name.endswith("-shm")}
    return {name: held for name, held in files.items() if held}


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Replace what the file holds."""
    path.write_bytes(change(path.read_bytes() if path.exists() else b""))


def size(path: Path) -> int | None:
    """Bytes of the file; None where there is none."""
    return path.stat().st_size if path.exists() else None


# Opening


async def test_a_new_store_is_for_its_owner_only_and_says_what_it_is(path: Path) -> None:
    store = await SqliteStore.open(path.parent / "a" / "b" / "relay.db")
    await store.accept(admission("crm"))
    modes = {stat.S_IMODE(file.stat().st_mode) for file in (path.parent / "a" / "b").iterdir()}
    assert modes == {0o600}, "the log and the shared memory hold personal data too"
    await store.close()
    look = apsw.Connection(str(path.parent / "a" / "b" / "relay.db"))
    assert look.pragma("application_id") == APPLICATION_ID
    assert look.pragma("user_version") == len(migrations("sqlite"))
    look.close()


def test_the_settings_on_which_the_promise_rests_are_in_force(path: Path) -> None:
    opened = connect(path)
    found = {name: opened.pragma(name) for name in ("journal_mode", "synchronous", "foreign_keys")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert opened.pragma("wal_autocheckpoint") == 0
    opened.close()


def test_migrations_are_numbered_without_a_gap() -> None:
    assert [step.number for step in migrations("sqlite")] == list(range(1, len(migrations("sqlite")) + 1))


async def test_a_tool_does_not_make_a_store(path: Path) -> None:
    with pytest.raises(StartError, match="there is no"):
        await open_store(f"sqlite:///{path}", create=False)
    assert size(path) is None
    await made(path)
    store = await open_store(f"sqlite:///{path}", create=False)
    await store.close()


@pytest.mark.parametrize("url", ["mysql://host/db", "nothing", "sqlite:///", "", "sqlite://relay.db"])
async def test_another_url_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(StartError, match=r"write sqlite:///data/relay\.db"):
        await open_store(url)


async def test_a_crash_inside_a_migration_leaves_it_not_begun(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event_id = await made(path)
    steps = migrations("sqlite")
    broken = Migration(number=len(steps) + 1, sql="CREATE TABLE extra (x); INSERT INTO nowhere VALUES (1);")
    monkeypatch.setattr(connection, "migrations", lambda _: [*steps, broken])
    with pytest.raises(apsw.SQLError):
        await SqliteStore.open(path)
    monkeypatch.undo()
    store = await SqliteStore.open(path)
    assert await store.event(event_id) is not None
    await store.close()
    look = apsw.Connection(str(path))
    assert look.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'extra'").get == 0
    look.close()


async def test_two_that_start_at_once_make_one_schema(path: Path) -> None:
    stores = await asyncio.gather(*(SqliteStore.open(path) for _ in range(4)))
    await asyncio.gather(*(store.accept(admission("crm")) for store in stores))
    assert (await stores[0].totals())["pending"] == 4
    for store in stores:
        await store.close()


# Refusing, untouched


async def refused(path: Path, error: type[Exception], match: str) -> None:
    before = content(path)
    with pytest.raises(error, match=match):
        await SqliteStore.open(path)
    assert content(path) == before, "it must be left as it is"


@pytest.mark.parametrize("journal", ["delete", "wal"])
async def test_another_programs_file_is_refused_and_left_as_it_is(path: Path, journal: str) -> None:
    other = apsw.Connection(str(path))
    other.pragma("journal_mode", journal)
    other.execute("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)")
    other.close()
    await refused(path, StoreUnusable, "of another program")


async def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    rewrite(path, lambda _: b"not a database at all, but long enough to look at. " * 100)
    await refused(path, StoreUnusable, "damaged or is no SQLite file")


async def test_a_damaged_file_is_refused(path: Path) -> None:
    store = await SqliteStore.open(path)
    await asyncio.gather(*(store.accept(admission("crm", body=b"x" * 900)) for _ in range(100)))
    await store.close()
    rewrite(path, lambda whole: whole[:8192] + os.urandom(len(whole) - 8192))
    await refused(path, StoreUnusable, "damaged")


async def test_a_file_that_was_cut_off_is_refused(path: Path) -> None:
    await made(path, "crm")
    rewrite(path, lambda whole: whole[: 4096 * 3])
    await refused(path, StoreUnusable, "damaged")


async def test_a_file_of_a_newer_relay_is_refused(path: Path) -> None:
    await made(path)
    newer = apsw.Connection(str(path))
    newer.pragma("user_version", 999)
    newer.close()
    await refused(path, StoreUnusable, "newer relay")


async def test_a_tool_does_not_change_the_schema_of_an_older_relay(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await made(path)
    before = content(path)
    newer = [
        *migrations("sqlite"),
        Migration(number=len(migrations("sqlite")) + 1, sql="CREATE TABLE more (x TEXT) STRICT;"),
    ]
    monkeypatch.setattr(connection, "migrations", lambda _kind: newer)
    with pytest.raises(StoreUnusable, match="older relay; `relay serve` brings it up to date"):
        await SqliteStore.open(path, create=False)
    assert content(path) == before
    await (await SqliteStore.open(path)).close()


async def test_half_a_transaction_that_a_power_cut_left_is_rolled_back(path: Path) -> None:
    """Only at the very first start is there a rollback journal; later there is a log, which is read anyway."""
    event_id = await made(path, "crm")
    writing = apsw.Connection(str(path))
    writing.pragma("journal_mode", "delete")
    writing.execute("BEGIN IMMEDIATE; DELETE FROM event")
    writing.cache_flush()
    after = path.parent / "after"
    after.mkdir()
    for file in (path, path.with_name(f"{path.name}-journal")):
        (after / file.name).write_bytes(file.read_bytes())
    writing.close()
    store = await SqliteStore.open(after / path.name)
    assert [record.event.id for record in await store.events()] == [event_id]
    await store.close()


async def test_a_vulnerable_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    await refused(path, StoreUnusable, "WAL-reset")


async def test_a_folder_and_a_path_below_a_file_are_refused(path: Path) -> None:
    with pytest.raises(StartError, match=r"is a folder; name a file in it, such as .*relay\.db"):
        await SqliteStore.open(path.parent)
    rewrite(path, lambda _: b"a file")
    with pytest.raises(StartError, match="is a file and no folder"):
        await SqliteStore.open(path / "relay.db")


@pytest.mark.real_limits
async def test_a_file_that_another_process_locks_is_refused_in_time(path: Path) -> None:
    await made(path)
    other = apsw.Connection(str(path))
    other.pragma("locking_mode", "exclusive")
    other.execute("BEGIN EXCLUSIVE")
    async with asyncio.timeout(30):
        with pytest.raises(StartError, match="locked by another process"):
            await SqliteStore.open(path)
    other.close()


# Crashes, locks and space


_CRASH = """
import asyncio, os, sys
from pathlib import Path
from relay.stores.sqlite import SqliteStore
from tests.fakes.admissions import admission
async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    await asyncio.gather(*(store.accept(admission("crm", uuid=str(n))) for n in range(50)))
    print("committed", flush=True)
    os._exit(1)
asyncio.run(main())
"""


async def test_what_was_committed_is_there_after_a_crash(path: Path) -> None:
    crashed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _CRASH, str(path)], capture_output=True, timeout=60, check=False
    )
    assert crashed.stdout == b"committed\n", crashed.stderr.decode()
    store = await SqliteStore.open(path)
    assert (await store.totals()) == {"routed": 50, "pending": 50}
    await store.close()


# The log


async def test_the_log_is_moved_into_the_file_and_begins_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.stores.sqlite.checkpoints.LOG_LIMIT", 0)
    store = await SqliteStore.open(path)
    await store.accept(admission("crm", body=b"x" * 500_000))
    log = path.with_name("relay.db-wal")
    assert (size(log) or 0) > 500_000
    await store._reading.run(store._upkeep.checkpoint)
    assert size(log) == 0
    assert (size(path) or 0) > 500_000
    await store.close()
    assert size(log) is None, "a store that was closed in order is one file"


async def test_a_log_begun_anew_is_written_over_unless_it_has_grown_far(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that grows with each commit costs each of them more."""
    monkeypatch.setattr("relay.stores.sqlite.upkeep._CHECKPOINT_EVERY", 1e6)
    monkeypatch.setattr("relay.stores.sqlite.checkpoints.LOG_LIMIT", 100_000)
    store = await SqliteStore.open(path)
    log = path.with_name("relay.db-wal")
    while (full := size(log) or 0) <= 120_000:
        await store.accept(admission("crm", body=b"x" * 9000))
    assert await store._reading.run(store._upkeep.checkpoint) is Checkpoint.OK
    await store.accept(admission("crm"))
    assert size(log) == full < 200_000
    while (size(log) or 0) <= 250_000:
        await store.accept(admission("crm", body=b"x" * 9000))
    assert await store._reading.run(store._upkeep.checkpoint) is Checkpoint.OK
    assert size(log) == 0
    await store.close()


PASSIVE, RESTART = apsw.SQLITE_CHECKPOINT_PASSIVE, apsw.SQLITE_CHECKPOINT_RESTART


@pytest.mark.parametrize(
    ("frames", "modes"),
    [
        ([100], [PASSIVE]),
        ([20_000, 20_010], [PASSIVE, PASSIVE, RESTART]),
        ([20_000, 21_000, 21_300, 21_310], [*[PASSIVE] * 4, RESTART]),
        ([20_000 + 1_000 * number for number in range(9)], [*[PASSIVE] * 5, RESTART]),
        ([20_000, 21_000, 40], [PASSIVE] * 3),
    ],
    ids=["a short log", "nothing more", "less and less", "as much each time", "a writer has begun it anew himself"],
)
async def test_what_comes_in_meanwhile_is_moved_before_writers_wait_for_a_new_log(
    path: Path, frames: list[int], modes: list[int]
) -> None:
    """Each pass finds so many frames in the log, all of which it moves."""
    asked: list[int] = []

    class Log:
        def wal_checkpoint(self, *, mode: int) -> tuple[int, int]:
            asked.append(mode)
            return (frames[len(asked) - 1],) * 2 if mode == PASSIVE else (0, 0)

        def pragma(self, name: str) -> int:
            return {"page_size": 4096}[name]

        def set_busy_timeout(self, _: int) -> None:
            """It is asked at once."""

    assert checkpoint(Log(), path) is Checkpoint.OK  # type: ignore[arg-type]
    assert asked == modes


async def test_a_checkpoint_in_the_way_of_a_commit_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The race that SQLite had until 3.51.2: a log begun anew while another connection commits."""
    monkeypatch.setattr("relay.stores.sqlite.checkpoints.LOG_LIMIT", 0)
    store = await SqliteStore.open(path)

    async def checkpoint() -> None:
        for _ in range(40):
            try:
                await store._reading.run(store._upkeep.checkpoint)
            except StoreUnavailable as error:
                assert error.kind == "busy"  # noqa: PT017 - any kind but this one is the failure

    async def accept() -> int:
        return len([await store.accept(admission("crm")) for _ in range(40)])

    accepted, *_ = await asyncio.gather(
        asyncio.gather(*(accept() for _ in range(8))), checkpoint(), return_exceptions=False
    )
    assert (await store.totals())["routed"] == sum(accepted) == 320
    await store.close()
    look = apsw.Connection(str(path))
    assert look.pragma("integrity_check") == "ok"
    assert look.execute("SELECT count(*) FROM event").get == 320
    look.close()


async def test_an_io_error_of_a_checkpoint_ends_the_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.stores.sqlite.upkeep._CHECKPOINT_EVERY", 0.001)

    def fail(_: Upkeep, __: apsw.Connection) -> None:
        raise apsw.IOError("disk I/O error")

    monkeypatch.setattr(Upkeep, "checkpoint", fail)
    store = await SqliteStore.open(path)
    async with asyncio.timeout(30):
        assert (await store.failed()).kind == "io"
    assert store.health().obstacle
    with pytest.raises(StoreUnavailable):
        await store.accept(admission("crm"))
    await store.close()


async def test_a_word_of_a_later_version_ends_nothing(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "relay.db")
    try:
        await store.accept(admission("crm"))
        await store._writer.submit(lambda connection: connection.execute("UPDATE event SET defect = 'of_tomorrow'"))
        [claimed] = await store.claim("crm", limit=1, now=NOON, lease=timedelta(seconds=60))
        assert claimed.event.defect is Defect.NOT_JSON
    finally:
        await store.close()


@pytest.mark.parametrize("worker", [True, False])
async def test_a_second_relay_on_one_file_is_told(
    path: Path, caplog: pytest.LogCaptureFixture, *, worker: bool
) -> None:
    """Nothing is lost by it, but each keeps rates and breakers by itself. Workers of one relay share them out."""
    one = await SqliteStore.open(path)
    other = await SqliteStore.open(path, moves_log=not worker)
    try:
        await one.recover(now=NOON)
        assert "store.shared" not in caplog.messages
        await other.recover(now=NOON)
        assert caplog.messages.count("store.shared") == (0 if worker else 1)
    finally:
        await other.close()
        await one.close()
