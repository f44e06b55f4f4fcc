"""A disk that fills up: new events are refused first, all else goes on, and space that comes back is noticed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import apsw
import orjson
import pytest

from relay.errors import StoreUnavailable
from relay.model import Delivered
from relay.stores import sqlite
from relay.stores.sqlite import SqliteStore
from relay.stores.sqlite.room import Room, probe
from tests.fakes.admissions import NOON, admission
from tests.running import Relay, payload, relay_running, until

MIB = 1024 * 1024
LEASE = timedelta(seconds=60)


class Disk:
    """Free space as a test wants it."""

    def __init__(self, free: int = 1000 * MIB) -> None:
        self.free = free
        self.looks = 0

    def measure(self, _: Path) -> int:
        self.looks += 1
        if self.free < 0:
            raise OSError("gone")
        return self.free


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Every store that is opened sees this one."""
    made = Disk()
    monkeypatch.setattr(sqlite.SqliteStore, "open", partial(SqliteStore.open, measured_by=made.measure))
    monkeypatch.setattr("relay.stores.sqlite.upkeep._MEASURE_EVERY", 0.02)
    monkeypatch.setattr("relay.stores.sqlite.upkeep._CHECKPOINT_EVERY", 0.02)
    return made


def room(free: int, *, inside: int = 0, min_free: int = 128 * MIB) -> Room:
    made = Room(Path("data"), min_free=min_free, measured_by=Disk(free).measure)
    made.measure()
    made.inside = inside
    return made


@pytest.mark.parametrize(
    ("free", "inside", "min_free", "refused"),
    [
        (128 * MIB, 0, 128 * MIB, False),
        (128 * MIB - 1, 0, 128 * MIB, True),
        (0, 0, 0, False),  # turned off
        (-1, 0, 128 * MIB, False),  # not known: the commit will tell
        (28 * MIB, 100 * MIB, 128 * MIB, False),  # what was purged is used again
        (28 * MIB, 99 * MIB, 128 * MIB, True),
        (16 * MIB - 1, 1000 * MIB, 128 * MIB, True),  # the log has no place there
        (2 * MIB, 0, MIB, False),
    ],
)
def test_when_there_is_room(free: int, inside: int, min_free: int, *, refused: bool) -> None:
    assert bool(room(free, inside=inside, min_free=min_free).shortage) == refused


def test_the_obstacle_says_what_to_do() -> None:
    assert room(96 * MIB).obstacle == (
        "only 96.0 MiB are free in data, and gateway.min_free is 128MiB: new events are refused, deliveries go on; "
        "make room there, or lower it"
    )


async def answered(relay: Relay, number: int) -> int:
    return (await relay.post(orjson.dumps(payload(meeting=f"m-{number}")))).status


async def test_below_the_mark_events_are_refused_and_above_it_taken_again(tmp_path: Path, disk: Disk) -> None:
    async with relay_running(tmp_path) as relay:
        assert await answered(relay, 1) == 200
        disk.free = 100 * MIB
        await until(lambda: is_ready(relay, ready=False), "refusal")
        refused = await relay.post(orjson.dumps(payload(meeting="m-2")))
        assert (refused.status, refused.json["status"], refused.headers["retry-after"]) == (503, "store", "2")
        ready, metrics = await relay.admin("/readyz"), await relay.metrics()
        assert "make room there" in ready.json["checks"]["store"]
        assert metrics["relay_store_writable"] == 0
        assert metrics["relay_store_free_bytes"] == 100 * MIB
        assert metrics['relay_store_errors_total{kind="full"}'] == 1
        assert metrics['relay_requests_total{outcome="store",source="dyte"}'] == 1
        await until(lambda: log_is_empty(relay), "room that the log gives back")
        disk.free = 128 * MIB
        await until(lambda: is_ready(relay, ready=True), "room")
        assert await answered(relay, 2) == 200
        assert (await relay.metrics())["relay_store_writable"] == 1
        assert (await relay.totals())["routed"] == 2


async def log_is_empty(relay: Relay) -> bool:
    return (await relay.metrics())["relay_store_wal_bytes"] == 0


async def is_ready(relay: Relay, *, ready: bool) -> bool:
    return (await relay.admin("/readyz")).status == (200 if ready else 503)


async def test_below_the_mark_all_else_goes_on(tmp_path: Path, disk: Disk) -> None:
    store = await SqliteStore.open(tmp_path / "relay.db", min_free=128 * MIB)
    for _ in range(3):
        await store.accept(admission("crm"))
    disk.free = 0
    await until(lambda: obstructed(store), "obstacle")
    with pytest.raises(StoreUnavailable, match="new events are refused"):
        await store.accept(admission("crm"))
    claimed = await store.claim("crm", limit=9, now=NOON, lease=LEASE)
    assert await store.settle([(each, Delivered(receipt="200")) for each in claimed], now=NOON) == [True] * 3
    later = NOON + timedelta(seconds=1)
    assert (await store.purge(delivered_before=later, dead_before=later, limit=9)).done == 3
    await store.close()


async def obstructed(store: SqliteStore) -> bool:
    return bool(store.health().obstacle)


async def test_no_answer_waits_for_the_measurement(tmp_path: Path, disk: Disk) -> None:
    """It is made by a timer: a file system that hangs there must not hang here."""
    store = await SqliteStore.open(tmp_path / "relay.db", min_free=128 * MIB)
    store._upkeep._tasks[1].cancel()
    looks = disk.looks
    for _ in range(20):
        await store.accept(admission("crm"))
    assert disk.looks == looks
    await store.close()


async def test_a_commit_that_finds_the_disk_full_shows_until_there_is_room_again(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody needs to send an event for it: where it shows in /readyz, nobody may send any."""
    async with relay_running(tmp_path) as relay:
        await fill(relay.app.store)
        big = orjson.dumps(payload(padding="x" * 100_000))
        assert (await relay.post(big)).status == 503
        metrics = await relay.metrics()
        assert metrics["relay_store_writable"] == 0
        assert metrics['relay_store_errors_total{kind="full"}'] == 1
        looks = disk.looks
        await until(lambda: looked_since(disk, looks + 3), "more looks")  # it is tried, and in vain
        assert (await relay.admin("/readyz")).json["checks"]["store"].startswith("a commit found no room")
        await pages(relay.app.store, lambda connection: connection.pragma("max_page_count", 1_000_000))
        await until(lambda: is_ready(relay, ready=True), "room")
        assert (await relay.metrics())["relay_store_writable"] == 1
        assert (await relay.post(big)).status == 200


async def looked_since(disk: Disk, looks: int) -> bool:
    return disk.looks >= looks


async def pages(store: object, change: Callable[[apsw.Connection], object]) -> None:
    assert isinstance(store, SqliteStore)
    await store._writer.submit(change)


async def fill(store: object) -> None:
    """Let the file not grow any more."""
    await pages(store, lambda connection: connection.pragma("max_page_count", connection.pragma("page_count")))


async def test_the_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "relay.db")
    tables = "SELECT count(*) FROM sqlite_schema"
    before = await store._reading.run(lambda connection: connection.execute(tables).get)
    await store._writer.submit(probe)
    assert await store._reading.run(lambda connection: connection.execute(tables).get) == before
    await store.accept(admission("crm", received_at=datetime.now(UTC)))
    await store.close()
