"""The store under pressure: a lock, a commit that is stuck, a reader that stays, old events that wait."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

from relay.errors import StoreUnavailable
from relay.model import Event
from relay.records import Checkpoint
from relay.stores.sqlite import SqliteStore
from tests.fakes.admissions import NOON, admission
from tests.fakes.writing import Plug
from tests.running import Relay, payload, relay_running, until
from tests.scale.seed import Seeded, seed

DAY = timedelta(days=1)


@contextmanager
def connected(path: Path) -> Iterator[apsw.Connection]:
    connection = apsw.Connection(str(path))
    try:
        yield connection
    finally:
        connection.close()


def sqlite(relay: Relay) -> SqliteStore:
    assert isinstance(relay.app.store, SqliteStore)
    return relay.app.store


# Somebody else's lock


async def test_a_lock_costs_503s_in_time_and_no_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.stores.sqlite.connection.BUSY_TIMEOUT_MS", 100)
    monkeypatch.setattr("relay.gateway.COMMIT_TIME", 0.5)
    async with relay_running(tmp_path) as relay:
        assert (await relay.post()).status == 200
        await relay.drained()
        with connected(tmp_path / "relay.db") as other:
            other.execute("BEGIN EXCLUSIVE")
            threads = threading.active_count()
            answers = []
            for round_ in range(3):
                posts = (relay.post(payload(count=f"{round_}-{number}")) for number in range(50))
                answers += await asyncio.gather(*posts)
            assert Counter((answer.status, answer.json["status"]) for answer in answers) == {(503, "store"): 150}
            assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
            assert threading.active_count() <= threads + 1, "the one who measures free space may be new"
            assert sqlite(relay)._writer._queue.qsize() <= 150
            metrics = await relay.metrics()
            assert metrics['relay_store_errors_total{kind="busy"}'] > 0
            other.execute("ROLLBACK")
        assert (await relay.post(payload(count="after"))).status == 200


# A commit that is stuck


@pytest.fixture
async def stuck(tmp_path: Path) -> tuple[SqliteStore, Plug]:
    """A store whose writer is busy until the plug is pulled."""
    store, plug = await SqliteStore.open(tmp_path / "relay.db"), Plug()
    store._plugged = asyncio.create_task(store._writer.submit(plug))  # type: ignore[attr-defined]
    await plug.begun()
    return store, plug


async def test_who_gave_up_is_not_kept_in_memory(stuck: tuple[SqliteStore, Plug]) -> None:
    """A megabyte each, a thousand a second: a commit that is stuck for a minute must not end in the memory's end."""
    store, plug = stuck
    kept = await asyncio.gather(*(given_up(store) for _ in range(20)))
    gc.collect()
    assert [event() for event in kept] == [None] * 20
    assert store._writer._queue.qsize() == 20
    plug.pull()
    await store.accept(admission("crm"))
    await store.close()


async def given_up(store: SqliteStore) -> weakref.ref[Event]:
    """An event whose sender has been answered before its commit."""
    given = admission("crm")
    with suppress(TimeoutError):
        async with asyncio.timeout(0.01):
            await store.accept(given)
    return weakref.ref(given.event)


async def test_more_than_can_wait_is_refused_at_once(
    stuck: tuple[SqliteStore, Plug], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.stores.sqlite.writer.MOST_QUEUED", 10)
    store, plug = stuck
    accepts = [asyncio.create_task(store.accept(admission("crm"))) for _ in range(10)]
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable) as refused:
        await store.accept(admission("crm"))
    assert refused.value.kind == "busy"
    plug.pull()
    await asyncio.gather(*accepts)
    await store.accept(admission("crm"))
    assert (await store.totals())["routed"] == 11
    await store.close()


async def test_the_others_are_refused_while_a_commit_is_stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = {"listen": "127.0.0.1:0", "max_inflight": 5}
    async with relay_running(tmp_path, gateway=gateway) as relay:
        plug = Plug()
        plugged = asyncio.create_task(sqlite(relay)._writer.submit(plug))
        await plug.begun()
        waiting = [asyncio.create_task(relay.post(payload(count=number))) for number in range(5)]
        await until(lambda: at_work(relay, 5), "requests at work")
        refused = [await relay.post(payload(refused=number)) for number in range(10)]
        assert not any(task.done() for task in waiting), "they were refused before the others were answered"
        plug.pull()
        await plugged
        assert {answer.json["status"] for answer in refused} == {"overloaded"}
        assert {(await task).status for task in waiting} == {200}
        metrics = await relay.metrics()
        assert metrics['relay_requests_total{outcome="overloaded",source="dyte"}'] == 10


async def at_work(relay: Relay, count: int) -> bool:
    return (await relay.metrics())["relay_inflight"] == count


# A reader that stays


async def test_a_log_that_a_reader_holds_shows_and_shrinks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.stores.sqlite.upkeep._CHECKPOINT_EVERY", 0.02)
    monkeypatch.setattr("relay.stores.sqlite.checkpoints.LOG_LIMIT", 200_000)
    async with relay_running(tmp_path) as relay:
        await relay.post()
        with connected(tmp_path / "relay.db") as reader:
            rows = reader.execute("SELECT seq FROM event")
            next(rows)  # and no further: it holds what is there now
            padding = "x" * 5000
            answers = [await relay.post(payload(count=number, padding=padding)) for number in range(100)]
            assert {answer.status for answer in answers} == {200}
            await until(lambda: checkpoints(relay, Checkpoint.BUSY, 3), "checkpoints in vain")
            held = (await relay.metrics())["relay_store_wal_bytes"]
            rows.close()
        assert held > 500_000
        await until(lambda: log_is_below(relay, 200_000), "short log")
        before = (await relay.metrics())['relay_checkpoints_total{result="ok"}']
        await until(lambda: checkpoints(relay, Checkpoint.OK, before + 1), "checkpoint")


async def checkpoints(relay: Relay, result: Checkpoint, count: float) -> bool:
    return (await relay.metrics())[f'relay_checkpoints_total{{result="{result}"}}'] >= count


async def log_is_below(relay: Relay, size: int) -> bool:
    return (await relay.metrics())["relay_store_wal_bytes"] < size


async def test_no_writer_waits_for_a_log_that_a_reader_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beginning the log anew takes the writers' lock and waits for readers: not while one is known to be there."""
    monkeypatch.setattr("relay.stores.sqlite.checkpoints.LOG_LIMIT", 0)
    store = await SqliteStore.open(tmp_path / "relay.db")
    await store.accept(admission("crm"))
    modes: list[int] = []
    with connected(tmp_path / "relay.db") as reader:
        rows = reader.execute("SELECT seq FROM event")
        next(rows)
        await store.accept(admission("crm"))

        class Watched:
            def wal_checkpoint(self, *, mode: int) -> tuple[int, int]:
                modes.append(mode)
                return store._reading._connection.wal_checkpoint(mode=mode)

            def __getattr__(self, name: str) -> object:
                return getattr(store._reading._connection, name)

        assert store._upkeep.checkpoint(Watched()) is Checkpoint.BUSY  # type: ignore[arg-type]
        rows.close()
        assert modes == [apsw.SQLITE_CHECKPOINT_PASSIVE]
        assert store._upkeep.checkpoint(Watched()) is Checkpoint.OK  # type: ignore[arg-type]
        assert modes[1:] == [*[apsw.SQLITE_CHECKPOINT_PASSIVE] * 2, apsw.SQLITE_CHECKPOINT_TRUNCATE]
    assert store.health().log_bytes == 0
    await store.close()


# Retention


async def test_answers_are_taken_between_the_steps_of_the_purge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.housekeeping._PURGE_AT_ONCE", 10)
    async with relay_running(tmp_path, sinks={}) as relay:
        store = sqlite(relay)
        old = datetime.now(UTC) - 30 * DAY
        await asyncio.gather(*(store.accept(admission(received_at=old)) for _ in range(500)))
        steps, purge = 0, store.purge

        async def counted(**given: object) -> object:
            nonlocal steps
            steps += 1
            return await purge(**given)  # type: ignore[arg-type]

        monkeypatch.setattr(store, "purge", counted)
        purging = asyncio.create_task(relay.app.housekeeping.purge())
        at: list[int] = []
        while not purging.done() and len(at) < 500:
            await store.accept(admission(received_at=datetime.now(UTC)))
            at.append(steps)
        await purging
        assert (steps, (await relay.totals())["unrouted"]) == (51, len(at))
    assert max(later - earlier for earlier, later in pairwise(at)) <= 3, "nobody waited for many"
    assert len(at) > 15


async def test_old_events_that_wait_are_walked_over_beside_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many: each step looks at as many as it was told, the last costs what the first did, and the writer's
    thread has nothing to do with it."""
    seed(tmp_path / "relay.db", events=20_000, sinks=[Seeded("crm")], oldest=NOON - 30 * DAY)
    store = await SqliteStore.open(tmp_path / "relay.db")
    await store._writer.submit(lambda connection: connection.execute("DELETE FROM mark"))
    written: list[object] = []

    async def submit(work: object) -> int:
        written.append(work)
        return 0

    monkeypatch.setattr(store._writer, "submit", submit)
    instructions = 0

    def count() -> bool:
        nonlocal instructions
        instructions += 1
        return False

    store._reading._connection.set_progress_handler(count, 100)
    costs: list[int] = []
    after: int | None = 0
    while after is not None:
        instructions = 0
        step = await store.purge(delivered_before=NOON, dead_before=NOON, after=after, limit=200)
        costs.append(instructions)
        after = step.next
        assert step.done == 0
    assert len(costs) == 101
    assert written == []
    assert max(costs[:-1]) <= 1.5 * min(costs[:-1])
    assert (await store.totals())["pending"] == 20_000
    store._reading._connection.set_progress_handler(None)
    await store.close()


async def test_what_a_clock_that_was_ahead_has_dated_stands_in_nobodys_way(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "relay.db")
    await asyncio.gather(*(store.accept(admission(received_at=NOON + 365 * DAY)) for _ in range(5)))
    await asyncio.gather(*(store.accept(admission(received_at=NOON)) for _ in range(3)))
    step = await store.purge(delivered_before=NOON + DAY, dead_before=NOON, limit=9)
    assert (step.done, (await store.totals())["unrouted"]) == (3, 5)
    await store.close()
