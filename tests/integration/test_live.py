"""What is seen of a store by those who look on: everything once, in steps that are short whatever the store holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest

from relay import tailing
from relay.errors import StartError, StoreUnusable
from relay.model import Dead, Delivered, DeliveryState, Failure, Reason, Retry, Selection
from relay.ports import Store
from relay.stores import open_live, sample
from relay.stores.sqlite import live, pace, queues
from relay.stores.sqlite.connection import open_to_look
from relay.tailing import Moment, Tail, What
from tests.commands import opened, settle
from tests.fakes.admissions import admission, event
from tests.scale.seed import Seeded, seed
from tests.storing import over_each_store, store_url

DOWN = Failure(reason=Reason.CONNECT, detail="no connection")
ALL = Selection()


@asynccontextmanager
async def following(
    folder: Path, selection: Selection = ALL, *, since: datetime | None = None, failures: bool = False
) -> AsyncIterator[Tail]:
    looking = await open_live(store_url(folder))
    try:
        yield Tail(looking, selection, after=await looking.place(since), failures=failures)
    finally:
        await looking.close()


async def retry(store: Store, sink: str) -> None:
    """Let all that is due at the sink fail, and come due at once."""
    await settle(store, sink, Retry(failure=DOWN, at=datetime.now(UTC)))


def told(moments: Sequence[Moment]) -> list[tuple[str, str]]:
    return [(moment.what.value, moment.delivery.sink if moment.delivery else "") for moment in moments]


@over_each_store
async def test_all_that_happens_is_told_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, following(tmp_path) as tail:
        await store.accept(admission("audit", "crm"))
        assert told(await tail.look()) == [("arrived", "")]
        await settle(store, "audit", Delivered(receipt="line 1"))
        await retry(store, "crm")
        assert sorted(told(await tail.look())) == [("delivered", "audit"), ("failed", "crm")]
        await settle(store, "crm", Dead(failure=DOWN))
        [dead] = await tail.look()
        assert (dead.what, dead.attempt) == (What.DEAD, None)
        assert dead.delivery is not None
        assert dead.delivery.reason == Reason.CONNECT
        assert await tail.look() == []


@over_each_store
async def test_several_attempts_between_two_looks_are_all_told(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, following(tmp_path) as tail:
        await store.accept(admission("crm"))
        for _ in range(3):
            await retry(store, "crm")
        await settle(store, "crm", Delivered(receipt="200"))
        moments = await tail.look()
        assert told(moments) == [("arrived", ""), *[("failed", "crm")] * 3, ("delivered", "crm")]
        assert [moment.attempt.attempt for moment in moments if moment.attempt] == [1, 2, 3]


@over_each_store
async def test_an_attempt_under_way_is_told_when_it_ends(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.accept(admission("crm"))
        await retry(store, "crm")
        now = datetime.now(UTC)
        [claimed] = await store.claim("crm", limit=1, now=now, lease=timedelta(minutes=1))
        async with following(tmp_path) as tail:
            assert await tail.look() == [], "what ended before the start is history"
            await store.settle([(claimed, Retry(failure=DOWN, at=now))], now=now)
            [failed] = await tail.look()
            assert failed.attempt is not None
            assert failed.attempt.attempt == 2


@over_each_store
async def test_a_backlog_and_a_replay_are_followed_too(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.accept(admission("crm"))
        async with following(tmp_path) as tail:
            assert await tail.look() == []
            await settle(store, "crm", Dead(failure=DOWN))
            assert told(await tail.look()) == [("dead", "crm")]
            now = datetime.now(UTC)
            dead = Selection(states=frozenset({DeliveryState.DEAD}))
            await store.replay(dead, now=now, first_at=now, spacing=timedelta(0), limit=10)
            assert await tail.look() == []
            await settle(store, "crm", Delivered(receipt="200"))
            [again] = await tail.look()
            assert again.delivery is not None
            assert again.delivery.replay == 1


@over_each_store
async def test_history_is_told_in_its_order(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with opened(tmp_path) as store:
        for minutes in (30, 5):
            await store.accept(admission("audit", of=event(received_at=now - timedelta(minutes=minutes))))
        await settle(store, "audit", Delivered(receipt="1"))
    for since, arrived in ((timedelta(minutes=10), 1), (timedelta(hours=1), 2), (timedelta(0), 0)):
        async with following(tmp_path, since=now - since) as tail:
            moments = await tail.look()
        assert told(moments) == [("arrived", "")] * arrived + [("delivered", "audit")] * arrived
        assert [moment.at for moment in moments] == sorted(moment.at for moment in moments)


@over_each_store
@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (Selection(type_glob="recording.*"), {("arrived", ""), ("delivered", "audit"), ("delivered", "crm")}),
        (Selection(sink="crm"), {("arrived", ""), ("delivered", "crm")}),
        (Selection(meeting="m-2"), {("arrived", ""), ("delivered", "audit")}),
        (Selection(source="other"), set()),
        (Selection(sink="other"), set()),
    ],
    ids=["type", "sink", "meeting", "source", "no sink"],
)
async def test_what_is_told_can_be_chosen(tmp_path: Path, selection: Selection, expected: set[tuple[str, str]]) -> None:
    """Of what comes in, and of what waits already."""
    async with opened(tmp_path) as store:
        await store.accept(admission("audit", "crm", of=event(type="recording.statusUpdate", meeting="m-1")))
        await store.accept(admission("audit", of=event(type="meeting.ended", meeting="m-2")))
        async with following(tmp_path, selection) as tail, following(tmp_path, selection, since=EPOCH) as whole:
            assert await tail.look() == []
            for sink in ("audit", "crm"):
                await settle(store, sink, Delivered(receipt="1"))
            assert set(told(await tail.look())) == {each for each in expected if each[1]}
            assert set(told(await whole.look())) == expected


EPOCH = datetime(2020, 1, 1, tzinfo=UTC)


@over_each_store
async def test_only_failures(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, following(tmp_path, failures=True) as tail:
        await store.accept(admission("audit", "crm"))
        await settle(store, "audit", Delivered(receipt="1"))
        await retry(store, "crm")
        await settle(store, "crm", Dead(failure=DOWN))
        assert told(await tail.look()) == [("failed", "crm"), ("dead", "crm")]


@over_each_store
async def test_a_long_history_comes_in_steps_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tailing, "STEP", 3)
    monkeypatch.setattr(tailing, "MOST_STEPS", 2)
    monkeypatch.setattr(tailing, "MOST_FOLLOWED", 5)
    async with opened(tmp_path) as store:
        for _ in range(20):
            await store.accept(admission("audit"))
        async with following(tmp_path, since=EPOCH) as tail:
            looks = [len(await tail.look())]
            while tail.behind:
                looks.append(len(await tail.look()))
            assert looks == [6, 6, 6, 2]
            await settle(store, "audit", Delivered(receipt="1"))
            assert len(await tail.look()) == 5, "the others were let go"


def steps(path: Path) -> dict[str, int]:
    """How many steps of SQLite's machine each question takes, where nothing fits and much is there."""
    connection = open_to_look(path)
    counted = [0]

    def count() -> bool:
        counted[0] += 1
        return False

    connection.set_progress_handler(count, 1)
    nothing = Selection(type_glob="no such type")
    found: dict[str, int] = {}
    for name, question in (
        ("end", lambda: live.place(connection, since=None)),
        ("since", lambda: live.place(connection, since=datetime.now(UTC) - timedelta(days=1))),
        ("arrived", lambda: live.arrived(connection, selection=nothing, after=10, limit=100)),
        ("waiting", lambda: live.waiting(connection, selection=nothing, limit=10)),
        ("paces", lambda: pace.paces(connection, now=datetime.now(UTC))),
        ("moved", lambda: live.moved(connection, ended=dict.fromkeys(range(1, 50), 0))),
    ):
        counted[0] = 0
        question()
        found[name] = counted[0]
    connection.close()
    return found


def test_a_look_costs_the_same_whatever_the_store_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "SAMPLE", 100)
    sinks = [Seeded("ordered", ordered=True), Seeded("free")]
    for number in (500, 10_000):
        seed(tmp_path / f"{number}.db", events=number, sinks=sinks, oldest=datetime.now(UTC) - timedelta(hours=1))
    few, many = steps(tmp_path / "500.db"), steps(tmp_path / "10000.db")
    assert few.keys() == many.keys()
    for name, count in many.items():
        assert 0 < count <= 1.5 * few[name] + 20, name


def test_every_question_goes_down_an_index(tmp_path: Path) -> None:
    seed(tmp_path / "relay.db", events=1, sinks=[Seeded("crm")], oldest=datetime.now(UTC))
    connection = open_to_look(tmp_path / "relay.db")
    where = " WHERE e.type GLOB 'a' AND e.seq > 1 AND e.seq <= 2"
    questions = [live.END, live.SINCE, live.ARRIVED.format(where=where), live.DELIVERIES, live.MOVED]
    questions += [
        text.format(queue=queue) for text in (queues.NEXT_SINK, live.HEAD, pace.HEAD) for queue in queues.QUEUES
    ]
    for sql in (*questions, live.NEXT, pace.NEWEST, pace.BEFORE):
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?"))]
        harmless = ("SCAN ended VIRTUAL TABLE", "SCAN d", "SCAN (subquery")  # what was asked for, and what was found
        assert all("TEMP B-TREE" not in step for step in plan), plan
        assert all("SCAN" not in step or step.startswith(harmless) for step in plan), plan
    connection.close()


@over_each_store
async def test_the_pace_of_a_sink_that_works_off_a_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has settled lies far behind what has come in since, and is more than is looked at."""
    monkeypatch.setattr(sample, "SAMPLE", 20)
    now = datetime.now(UTC)
    async with opened(tmp_path) as store:
        await asyncio.gather(*(store.accept(admission("crm")) for _ in range(80)))
        claimed = await store.claim("crm", limit=50, now=now, lease=timedelta(minutes=1))
        await store.settle([(each, Delivered(receipt="")) for each in claimed], now=now - timedelta(seconds=2))
        assert await store.paces(now=now) == {"crm": 9.5}, "19 in two seconds; the 20th that is looked at waits"
        assert await store.paces(now=now + timedelta(minutes=2)) == {}


async def test_who_looks_on_cannot_write_and_moves_no_log(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.accept(admission("audit"))
        connection = open_to_look(tmp_path / "relay.db")
        with pytest.raises(apsw.ReadOnlyError):
            connection.execute("DELETE FROM event")
        before = await asyncio.to_thread((tmp_path / "relay.db-wal").stat)
        connection.close()
        after = await asyncio.to_thread((tmp_path / "relay.db-wal").stat)
        assert (before.st_size, before.st_ino) == (after.st_size, after.st_ino)
        assert before.st_size > 0


async def test_the_log_can_start_anew_while_somebody_looks_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store, following(tmp_path, since=EPOCH) as tail:
        await store.accept(admission("audit"))
        assert len(await tail.look()) == 1
        with closing(apsw.Connection(str(tmp_path / "relay.db"))) as connection:
            row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert row is not None
        assert row[:2] == (0, 0), "nobody was in the way, and nothing is left"
        await settle(store, "audit", Delivered(receipt=""))
        assert told(await tail.look()) == [("delivered", "audit")]


async def test_what_is_no_store_is_told(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="`relay serve` creates it"):
        await open_live(f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(StartError, match="write sqlite:///"):
        await open_live("mysql://x")
    await asyncio.to_thread((tmp_path / "text.db").write_text, "no database, but long enough to be read as one" * 50)
    with pytest.raises(StoreUnusable, match="is no SQLite file"):
        await open_live(f"sqlite:///{tmp_path}/text.db")
    await asyncio.to_thread((tmp_path / "folder.db").mkdir)
    with pytest.raises(StartError, match="as the user that runs `relay serve`"):
        await open_live(f"sqlite:///{tmp_path}/folder.db")
