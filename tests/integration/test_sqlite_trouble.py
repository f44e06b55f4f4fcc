"""The SQLite store in trouble: a lock, a full disk, an I/O error, a dead writer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import apsw
import pytest

from relay.errors import StoreUnavailable
from relay.model import Acceptance, Admission, Delivered, EventState
from relay.stores.sqlite import SqliteStore, intake
from relay.stores.sqlite.connection import connect, open_file
from relay.stores.sqlite.writer import GROUP, Writer
from tests.fakes.admissions import NOON, admission
from tests.fakes.failing_vfs import NAME, FailingVfs, failing_vfs
from tests.fakes.writing import Plug

LEASE = timedelta(seconds=60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(path)
    yield opened
    async with asyncio.timeout(30):
        await opened.close()


# Group commit


async def test_all_that_waits_is_one_commit(store: SqliteStore) -> None:
    commits: list[float] = []
    store.on_commit(commits.append)
    plug = Plug()
    plugged = asyncio.create_task(store._writer.submit(plug))
    await plug.begun()
    accepts = [asyncio.create_task(store.accept(admission("crm"))) for _ in range(GROUP + 50)]
    await asyncio.sleep(0)  # let them queue
    plug.pull()
    await asyncio.gather(plugged, *accepts)
    assert len(commits) == 2, "a whole group and the rest"


async def test_nobody_is_answered_before_the_commit(path: Path, store: SqliteStore) -> None:
    plug = Plug()
    accepted = asyncio.create_task(store.accept(admission("crm")))
    plugged = asyncio.create_task(store._writer.submit(plug))
    await plug.begun()  # the event is either committed already, or in one transaction with the plug
    look = apsw.Connection(str(path))
    committed = look.execute("SELECT count(*) FROM event").get
    assert accepted.done() <= bool(committed)
    plug.pull()
    await asyncio.gather(accepted, plugged)
    assert look.execute("SELECT count(*) FROM event").get == 1
    look.close()


async def test_who_gives_up_before_the_commit_is_not_written(store: SqliteStore) -> None:
    plug = Plug()
    plugged = asyncio.create_task(store._writer.submit(plug))
    await plug.begun()
    accepts = [asyncio.create_task(store.accept(admission("crm"))) for _ in range(4)]
    await asyncio.sleep(0)
    accepts[1].cancel()
    await asyncio.gather(accepts[1], return_exceptions=True)
    plug.pull()
    await asyncio.gather(plugged, *accepts, return_exceptions=True)
    assert (await store.totals())["routed"] == 3


# The writer's death


class Killed(BaseException):
    """Something that no handler of errors expects."""


async def test_a_dead_writer_leaves_nobody_waiting_and_is_told(store: SqliteStore) -> None:
    def die(_: apsw.Connection) -> object:
        raise Killed

    plug = Plug()
    plugged = asyncio.create_task(store._writer.submit(plug))
    await plug.begun()
    works: list[asyncio.Task[object]] = [asyncio.create_task(store.accept(admission("crm"))) for _ in range(10)]
    works += [asyncio.create_task(store._writer.submit(die))]
    works += [asyncio.create_task(store.accept(admission("crm"))) for _ in range(2 * GROUP)]
    await asyncio.sleep(0)  # let them queue
    async with asyncio.timeout(30):
        plug.pull()
        results = await asyncio.gather(*works, return_exceptions=True)
        assert (await store.failed()).kind == "other"
        with pytest.raises(StoreUnavailable):
            await store.accept(admission("crm"))
    assert store.health().obstacle
    assert {getattr(result, "kind", "accepted") for result in results} == {"other"}
    await plugged
    assert await store.totals() == {}, "refused is not written, neither before the one that killed it nor after"


async def test_after_an_io_error_nothing_more_is_committed(store: SqliteStore) -> None:
    """After a failed sync the next one may lie; also not the rest of a group that is done one by one."""

    def bug(_: apsw.Connection) -> object:
        raise ZeroDivisionError

    def io_error(_: apsw.Connection) -> object:
        raise apsw.IOError("disk I/O error")

    plug = Plug()
    plugged = asyncio.create_task(store._writer.submit(plug))
    await plug.begun()
    works: list[asyncio.Task[object]] = [asyncio.create_task(store._writer.submit(bug))]
    works += [asyncio.create_task(store._writer.submit(io_error))]
    works += [asyncio.create_task(store.accept(admission("crm"))) for _ in range(5)]
    await asyncio.sleep(0)
    plug.pull()
    async with asyncio.timeout(30):
        await plugged
        first, *rest = await asyncio.gather(*works, return_exceptions=True)
        assert (await store.failed()).kind == "io"
    assert isinstance(first, ZeroDivisionError)
    assert {getattr(result, "kind", "accepted") for result in rest} == {"io"}
    assert await store.totals() == {}


async def accept_in_groups(writer: Writer, given: Sequence[Admission]) -> set[str]:
    """Accept three at a time; the ids of those that were acknowledged."""
    acknowledged: set[str] = set()
    for start in range(0, len(given), 3):
        works = [
            writer.submit(lambda connection, each=each: intake.accept_all(connection, [each])[0])  # type: ignore[misc]
            for each in given[start : start + 3]
        ]
        async with asyncio.timeout(30):
            results = await asyncio.gather(*works, return_exceptions=True)
        acknowledged |= {result.event_id for result in results if isinstance(result, Acceptance)}
        refused = [result for result in results if not isinstance(result, Acceptance)]
        assert {getattr(result, "kind", repr(result)) for result in refused} <= {"io"}
    return acknowledged


async def failing_run(path: Path, vfs: FailingVfs, kind: str, at: int, *, lasting: bool) -> bool:
    """One store whose file fails at one place; whether it did. Checks what is there afterwards."""
    open_file(path, create=True).close()
    connection = connect(path, vfs=NAME, exclusive=True)
    connection.execute("BEGIN IMMEDIATE; COMMIT")
    vfs.arm(kind, at=at, lasting=lasting)
    writer = Writer(connection)
    given = [admission("crm", "kafka", body=b"x" * 3000) for _ in range(6)]
    acknowledged = await accept_in_groups(writer, given)
    failed = vfs.failed
    async with asyncio.timeout(30):
        if failed:
            assert (await writer.failed).kind == "io"
            assert not writer.alive
        await writer.close()
    vfs.arm(at=0)
    look = apsw.Connection(str(path))
    assert look.pragma("integrity_check") == "ok"
    stored = {row[0] for row in look.execute("SELECT id FROM event")}
    look.close()
    assert acknowledged <= stored <= {each.event.id for each in given}
    return failed


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("kind", ["write", "sync"])
async def test_wherever_the_disk_fails_nothing_acknowledged_is_lost(
    tmp_path: Path, kind: str, *, lasting: bool
) -> None:
    """Each call in turn fails, until a run meets no failure: https://sqlite.org/testing.html#i_o_error_testing."""
    with failing_vfs() as vfs:
        for at in range(1, 400):
            if not await failing_run(tmp_path / f"{at}.db", vfs, kind, at, lasting=lasting):
                break
        else:
            pytest.fail("there is no end to the calls")
    assert at > 2, "a failure at every commit was tried"


# Locks and space


@pytest.mark.real_limits
async def test_a_locked_store_refuses_in_time_and_works_again_afterwards(path: Path) -> None:
    store = await SqliteStore.open(path)
    other = apsw.Connection(str(path))
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(30):
        results = await asyncio.gather(*(store.accept(admission("crm")) for _ in range(50)), return_exceptions=True)
    assert {getattr(result, "kind", "accepted") for result in results} == {"busy"}
    assert not store.health().obstacle, "a lock passes"
    other.execute("ROLLBACK")
    await store.accept(admission("crm"))
    assert (await store.totals())["routed"] == 1
    other.close()
    await store.close()


async def test_a_full_store_refuses_events_still_takes_results_and_recovers(path: Path) -> None:
    store = await SqliteStore.open(path)
    accepted = [await store.accept(admission("crm")) for _ in range(20)]
    claimed = await store.claim("crm", limit=20, now=NOON, lease=LEASE)
    pages = await store._writer.submit(lambda each: each.pragma("page_count"))
    await store._writer.submit(lambda each: each.pragma("max_page_count", pages))
    too_big = (store.accept(admission("crm", body=b"x" * 100_000)) for _ in range(10))
    results = [(delivery, Delivered(receipt="200")) for delivery in claimed]
    async with asyncio.timeout(30):
        *refusals, recorded = await asyncio.gather(*too_big, store.settle(results, now=NOON), return_exceptions=True)
    assert {getattr(refusal, "kind", "accepted") for refusal in refusals} == {"full"}
    assert recorded == [True] * 20, "one commit with what does not fit must not take these with it"
    await store._writer.submit(lambda each: each.pragma("max_page_count", 1_000_000))
    await store.accept(admission("crm", body=b"x" * 100_000))
    assert len(await store.events(state=EventState.ROUTED)) == len(accepted) + 1
    await store.close()
