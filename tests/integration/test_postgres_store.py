"""What only several connections to one PostgreSQL database can show: races, lost nodes, lost connections."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from asyncpg import DiskFullError

from relay.errors import StoreUnavailable
from relay.model import Acceptance, Delivered, Delivery, DuplicateKind, Selection
from relay.stores import gathering, postgres
from relay.stores.postgres import PostgresStore, connection, intake, nodes, outbox, pool, writer
from relay.stores.postgres.connection import Connection, connect
from relay.stores.postgres.server import parse
from relay.stores.postgres.skipping import Look
from relay.stores.rows import to_micros
from tests.contract.postgres import database_of
from tests.fakes import wire as wires
from tests.fakes.admissions import NOON, admission
from tests.fakes.loop_time import LoopTime
from tests.postgres import create, drop, shared
from tests.running import until

LEASE = timedelta(seconds=60)
WINDOW = timedelta(minutes=5)
DONE = Delivered(receipt="200")
CLOCK = "(extract(epoch FROM clock_timestamp()) * 1000000)::BIGINT"


@asynccontextmanager
async def opened(folder: Path, count: int = 2) -> AsyncIterator[Sequence[PostgresStore]]:
    """So many nodes on one database."""
    url = await database_of(folder)
    async with AsyncExitStack() as stack:
        stores = []
        for _ in range(count):
            stores.append(await PostgresStore.open(url))
            stack.push_async_callback(stores[-1].close)
        yield stores


@asynccontextmanager
async def bystander(folder: Path) -> AsyncIterator[Connection]:
    """Somebody else's connection to the same database."""
    connection = await connect(parse(await database_of(folder)))
    try:
        yield connection
    finally:
        connection.terminate()


async def claim(store: PostgresStore, *, limit: int = 100, sink: str = "crm") -> Sequence[Delivery]:
    return await store.claim(sink, limit=limit, now=NOON, lease=LEASE)


# Duplicates


async def test_one_webhook_at_two_nodes_at_once_is_one_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as (one, other):
        for _ in range(20):
            given = admission("crm", replay_window=WINDOW)
            both = await asyncio.gather(one.accept(given), other.accept(given))
            assert Counter(acceptance.duplicate for acceptance in both) == {None: 1, DuplicateKind.UUID: 1}
        assert await one.totals() == {"routed": 20, "pending": 20}


async def test_one_body_under_two_uuids_at_two_nodes_at_once_is_one_event(tmp_path: Path) -> None:
    async with opened(tmp_path) as (one, other):
        for number in range(20):
            twins = [admission("crm", body=b"%d" % number, replay_window=WINDOW) for _ in range(2)]
            both = await asyncio.gather(one.accept(twins[0]), other.accept(twins[1]))
            assert Counter(acceptance.duplicate for acceptance in both) == {None: 1, DuplicateKind.BODY: 1}
            assert len({acceptance.event_id for acceptance in both}) == 1
        assert await one.totals() == {"routed": 20, "pending": 20}


async def test_one_uuid_with_two_bodies_at_two_nodes_at_once_is_an_alarm(tmp_path: Path) -> None:
    async with opened(tmp_path) as (one, other):
        for number in range(20):
            twins = [admission("crm", uuid=f"u-{number}") for _ in range(2)]
            both = await asyncio.gather(one.accept(twins[0]), other.accept(twins[1]))
            assert sorted(acceptance.conflict for acceptance in both) == [False, True]
        assert await one.totals() == {"routed": 40, "pending": 40}


async def test_many_at_once_go_in_few_commits_and_each_is_told_its_own(tmp_path: Path) -> None:
    async with opened(tmp_path, 1) as (store,):
        commits: list[float] = []
        store.on_commit(commits.append)
        given = [admission("crm", body=b"%d" % (number % 290), replay_window=WINDOW) for number in range(300)]
        acceptances = await asyncio.gather(*(store.accept(each) for each in given))
        assert len(commits) <= 10
        assert [acceptance.duplicate for acceptance in acceptances] == [None] * 290 + [DuplicateKind.BODY] * 10
        assert [acceptance.event_id for acceptance in acceptances[290:]] == [each.event.id for each in given[:10]]


async def test_who_comes_within_a_few_turns_goes_in_the_same_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "_LONGEST", 60.0)  # a busy machine may take its time over a turn
    async with opened(tmp_path, 1) as (store,):
        commits: list[float] = []
        store.on_commit(commits.append)

        async def come_after(turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await store.accept(admission("crm"))

        await asyncio.gather(*map(come_after, range(20)))
        assert len(commits) == 1


async def test_groups_that_cross_do_not_lock_each_other_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_YIELDS", 0)  # else it would be tried again
    async with opened(tmp_path, 3) as stores:
        for _ in range(15):
            given = [
                admission("crm", "audit", order_key=f"m-{number % 5}", replay_window=WINDOW) for number in range(40)
            ]
            shuffled = [random.sample(given, len(given)) for _ in stores]
            outcomes = await asyncio.gather(
                *(store.accept(each) for store, some in zip(stores, shuffled, strict=True) for each in some),
                *(_work(store, "crm") for store in stores),
                *(_work(store, "audit") for store in stores),
                _replay(stores[0]),
                _replay(stores[1]),
                return_exceptions=True,
            )
            assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
        assert (await stores[0].totals())["routed"] == 15 * 40


async def _work(store: PostgresStore, sink: str) -> None:
    for _ in range(5):
        claimed = await claim(store, sink=sink, limit=9)
        await store.settle([(each, DONE) for each in reversed(claimed)], now=NOON)


async def _replay(store: PostgresStore) -> None:
    await store.replay(Selection(), now=NOON, first_at=NOON, spacing=timedelta(0), limit=50)


# Leases and order


async def test_two_nodes_never_lease_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path, 3) as stores:
        await asyncio.gather(*(stores[0].accept(admission("crm")) for _ in range(300)))
        parts = await asyncio.gather(*(claim(store, limit=7) for _ in range(20) for store in stores))
        numbers = [delivery.id for part in parts for delivery in part]
        assert len(numbers) == len(set(numbers)) == 300


async def test_who_lost_his_lease_to_another_node_changes_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path) as (late, other):
        await late.accept(admission("crm"))
        [lost] = await claim(late)
        [current] = await other.claim("crm", limit=1, now=NOON + LEASE, lease=LEASE)
        assert await late.settle([(lost, DONE)], now=NOON + LEASE) == [False]
        assert await other.settle([(current, DONE)], now=NOON + LEASE) == [True]


async def test_what_is_accepted_while_the_one_before_is_settled_is_never_left_without_a_turn(tmp_path: Path) -> None:
    async with opened(tmp_path) as (one, other):
        for number in range(200):
            await one.accept(admission("crm", order_key=f"m-{number}"))
            [first] = await claim(one)
            await asyncio.gather(
                one.settle([(first, DONE)], now=NOON), other.accept(admission("crm", order_key=f"m-{number}"))
            )
            [second] = await claim(one)
            assert await one.settle([(second, DONE)], now=NOON) == [True]


# Nodes that are gone


@pytest.mark.usefixtures("unhurried")
async def test_what_a_silent_node_holds_is_given_back_by_one_who_was_never_away(tmp_path: Path) -> None:
    async with opened(tmp_path) as (dead, living), bystander(tmp_path) as database:
        await _begin(dead, living)
        assert await _heard_of(database, dead, living, silent=3.6, since=3.7) == 1
        [again] = await claim(living)
        assert (again.attempt, again.tries) == (2, 2)


async def test_however_much_the_dead_hold_no_step_of_giving_it_back_is_large(tmp_path: Path) -> None:
    """One that takes longer than a statement may fails, and with it the heartbeat of whoever tries."""
    async with opened(tmp_path) as (one, other), bystander(tmp_path) as database:
        await one.accept(admission("crm"))
        await database.execute(
            "INSERT INTO relay.delivery (event, route, sink, state, due_at, attempt, owner, config) "
            "SELECT e.seq, 'all', 'sink-' || number, 'pending', e.received_at, 1, 'gone', '' "
            "  FROM relay.event e, generate_series(1, 20100) AS number"
        )
        assert await other.recover(now=NOON) == 20100
        steps = await database.fetch("SELECT count(*) FROM relay.delivery WHERE attempt = 1 GROUP BY xmin::text")
        assert max(count for (count,) in steps) <= 10_000


@pytest.mark.usefixtures("unhurried")
async def test_a_node_that_was_away_itself_takes_nobody_for_dead(tmp_path: Path) -> None:
    async with opened(tmp_path) as (other, back), bystander(tmp_path) as database:
        await _begin(other, back)
        assert await _heard_of(database, other, back, silent=30, since=1000, away=3) == 0, "the server was away"
        assert await _heard_of(database, other, back, silent=30, since=3.4) == 0, "not here for long enough yet"
        assert await _heard_of(database, other, back, silent=30, since=3.7) == 1


@pytest.mark.usefixtures("unhurried")
async def test_a_node_that_was_taken_for_dead_leases_nothing_until_it_is_heard_of(tmp_path: Path) -> None:
    async with opened(tmp_path) as (frozen, living), bystander(tmp_path) as database:
        await _begin(frozen, living)
        assert await _heard_of(database, frozen, living, silent=4, since=9) == 1
        assert await claim(frozen) == []
        await nodes.beat(database, frozen._owner, ahead=0)
        assert len(await claim(frozen)) == 1


@pytest.fixture
async def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is silent here would lease nothing after some seconds: those in which the server stands still do not
    count."""
    LoopTime(monkeypatch)


async def _begin(one: PostgresStore, other: PostgresStore) -> None:
    """Both are at work, but silent from now on; the first holds a lease."""
    for store in (one, other):
        await store.recover(now=NOON)
        assert store._presence._task is not None
        store._presence._task.cancel()
    await one.accept(admission("crm"))
    assert len(await claim(one)) == 1


async def _heard_of(
    database: Connection, silent_one: PostgresStore, who: PostgresStore, *, silent: float, since: float, away: float = 1
) -> int:
    """What one gives back when it is heard of, who was heard of `away` seconds ago, without a gap for so long; the
    other has been silent for so long."""
    await database.execute(f"UPDATE relay.node SET seen_at = {CLOCK} - $1", int(silent * 1e6))
    await database.execute(
        f"UPDATE relay.node SET since = {CLOCK} - $1, seen_at = {CLOCK} - $2 WHERE owner = $3",
        int(since * 1e6),
        int(away * 1e6),
        who._owner,
    )
    ahead = int((NOON.timestamp() - 1) * 1e6) - await database.fetchval(f"SELECT {CLOCK}")
    return (await nodes.beat(database, who._owner, ahead=ahead)).given_back


@pytest.mark.usefixtures("unhurried")
async def test_it_is_told_that_a_dead_nodes_work_was_given_back(tmp_path: Path) -> None:
    async with opened(tmp_path) as (dead, living), bystander(tmp_path) as database:
        await _begin(dead, living)
        told: list[int] = []
        living.on_recover(told.append)
        living._presence._task = None
        await living.recover(now=NOON)
        await database.execute(f"UPDATE relay.node SET since = {CLOCK} - 10000000")
        await database.execute(f"UPDATE relay.node SET seen_at = {CLOCK} - 9000000 WHERE owner = $1", dead._owner)

        async def given_back() -> bool:
            return told == [1]

        await until(given_back, "a beat that finds the dead one")


async def test_a_node_that_was_frozen_knows_that_others_may_have_what_it_claimed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = LoopTime(monkeypatch)
    async with opened(tmp_path, 1) as (store,):
        seen = [store.tenure]  # a tool is no node, and nobody takes it for dead
        await store.recover(now=NOON)
        seen.append(store.tenure)
        time._ahead += 10.0
        seen.append(store.tenure)
        assert seen == [0, 0, None]

        async def heard_of() -> bool:
            return store.tenure == 1

        await until(heard_of, "a beat")


@pytest.mark.usefixtures("unhurried")
async def test_who_leaves_says_so(tmp_path: Path) -> None:
    async with opened(tmp_path) as (leaving, staying), bystander(tmp_path) as database:
        await _begin(leaving, staying)
        await leaving.close()
        assert (await nodes.beat(database, staying._owner, ahead=0)).given_back == 1
        assert await database.fetchval("SELECT count(*) FROM relay.node WHERE owner = $1", leaving._owner) == 0


# Hints


async def test_what_one_node_accepts_ends_the_wait_of_another(tmp_path: Path) -> None:
    async with opened(tmp_path) as (one, other):
        for store in (one, other):
            await store.recover(now=NOON)
        async with asyncio.timeout(30):
            while not other._hints.listening:  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.02)
            await other.wait("crm", timeout=0.01)
            waiting = asyncio.create_task(other.wait("crm", timeout=60))
            while not waiting.done():  # a node that the server's stall has kept from telling of itself is told nothing
                await one.accept(admission("crm"))
                await asyncio.wait([waiting], timeout=5)


async def test_others_are_told_only_of_what_nobody_here_takes(tmp_path: Path) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with opened(tmp_path, 1) as (store,), bystander(tmp_path) as other:
        await other.add_listener("dyte_relay", lambda *given: heard.put_nowait(given[-1].partition(" ")[2]))
        for sinks in (("taken",), ("taken", "left")):
            waiting = asyncio.create_task(store.wait("taken", timeout=60))
            await asyncio.sleep(0)
            await store.accept(admission(*sinks))
            await waiting
        assert len(await claim(store, limit=3, sink="taken")) == 2
        async with asyncio.timeout(30):
            assert await heard.get() == "left"
            waiting = asyncio.create_task(store.wait("taken", timeout=60))
            await asyncio.sleep(0)
            await store.accept(admission("taken"))
            await waiting
            assert len(await claim(store, limit=1, sink="taken")) == 1, "and there may be more"
            assert await heard.get() == "taken"
        assert heard.empty()


# Connections that are lost


async def test_a_connection_that_is_lost_while_it_accepts_is_an_unavailable_store_and_the_retry_is_taken(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, 1) as (store,), bystander(tmp_path) as somebody:
        await store.accept(admission("crm"))
        given = [admission("crm") for _ in range(5)]
        held = somebody.transaction()
        await held.start()
        await somebody.execute("LOCK TABLE relay.mark IN SHARE MODE")
        waiting = [asyncio.ensure_future(store.accept(each)) for each in given]
        async with bystander(tmp_path) as killer, asyncio.timeout(30):
            while not await killer.fetchval(  # noqa: ASYNC110 - the server has none either
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND query LIKE '%relay.accept%' AND datname = current_database()"
            ):
                await asyncio.sleep(0.01)
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await held.rollback()
        assert {getattr(outcome, "kind", outcome) for outcome in outcomes} == {"conn"}
        again = await asyncio.gather(*(store.accept(each) for each in given))
        assert [acceptance.duplicate for acceptance in again] == [None] * 5
        assert (await store.totals())["routed"] == 6


async def test_all_connections_may_be_lost_and_the_store_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path, 1) as (store,), bystander(tmp_path) as somebody:
        await store.accept(admission("crm"))
        await store.totals()
        await claim(store)
        await somebody.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        async with asyncio.timeout(30):
            while True:
                try:
                    assert isinstance(await store.accept(admission("crm")), Acceptance)
                    break
                except StoreUnavailable as error:
                    assert error.kind == "conn"  # noqa: PT017 - only where it comes before the loss is noticed
        assert (await store.totals())["routed"] == 2
        assert store.health().obstacle == ""


async def test_what_a_claim_has_leased_whose_answer_was_lost_is_due_again_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = outbox.claim

    async def unanswered(connection: Connection, sink: str, **given: Any) -> Sequence[Delivery]:
        await ask(connection, sink, **given)
        raise ConnectionResetError

    async with opened(tmp_path, 1) as (store,):
        await asyncio.gather(*(store.accept(admission("crm")) for _ in range(7)))
        known = await claim(store, limit=2)
        slow = asyncio.create_task(claim(store, limit=1))
        await asyncio.sleep(0)
        monkeypatch.setattr(outbox, "claim", unanswered)
        with pytest.raises(StoreUnavailable, match="ConnectionResetError"):
            await claim(store, limit=3)
        monkeypatch.undo()
        again = await claim(store)
        assert sorted(each.id for each in [*known, *await slow, *again]) == list(range(1, 8)), "each once"
        assert sorted(each.attempt for each in again) == [1, 2, 2, 2]
        assert await store.settle([(each, DONE) for each in known], now=NOON) == [True, True]


class Wire:
    """A way to the server that can be cut: what is sent then goes nowhere, and nobody is told."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._cut = False
        self._streams: list[asyncio.StreamWriter] = []
        self._passing: list[asyncio.Task[None]] = []

    def cut(self, *, cut: bool) -> None:
        self._cut = cut
        for each in () if cut else self._streams:  # the server has given them up meanwhile
            each.close()

    async def ended(self) -> None:
        """Wait until nothing is under way."""
        await asyncio.gather(*self._passing, return_exceptions=True)
        await asyncio.gather(*(each.wait_closed() for each in self._streams), return_exceptions=True)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._streams += [writer, back]
        self._passing += [asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                if not self._cut:
                    writer.write(chunk)
        writer.close()


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_network_that_is_cut_holds_nobody_up_for_long_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    parts = urlsplit(await database_of(tmp_path))
    wire = Wire(parts.port or 5432)
    proxy = await asyncio.start_server(wire.take, "127.0.0.1", 0)
    netloc = f"{parts.username}@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    store = await PostgresStore.open(f"{urlunsplit(parts._replace(netloc=netloc))}?pool_mode={mode}")
    try:
        given = admission("crm")
        await store.accept(given)
        wire.cut(cut=True)
        with monkeypatch.context() as hasty:
            hasty.setattr(pool, "_GRACE_SECONDS", 0.1)
            hasty.setattr(connection, "CONNECT_SECONDS", 0.3)
            for each in (store._accepting, store._writing):
                hasty.setattr(each, "_statement_ms", 200)
            async with asyncio.timeout(20):  # well below the patience of all other tests
                for _ in range(2):
                    with pytest.raises(StoreUnavailable, match="no answer in time") as caught:
                        await store.accept(admission("crm"))
                    assert caught.value.kind == "conn"
                    with pytest.raises(StoreUnavailable):
                        await claim(store)
        assert "no answer in time" in store.health().obstacle
        wire.cut(cut=False)
        assert (await store.accept(given)).duplicate is DuplicateKind.UUID
        assert given.event.id in {each.event.id for each in await claim(store)}
        assert store.health().obstacle == ""
    finally:
        await store.close()
        wire.cut(cut=False)
        proxy.close()
        await wire.ended()


async def test_a_node_ends_although_the_server_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is cancelled rolls its transaction back first, and then hears only that its connection is lost."""
    monkeypatch.setattr(nodes, "BEAT_SECONDS", 0.01)
    monkeypatch.setattr(postgres, "WRITING_MS", 200)
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 0.5)
    url = urlsplit(await database_of(tmp_path))
    beat = nodes.beat
    async with wires.Wire(url.port or 5432) as wire:

        async def last(database: Connection, owner: str, *, ahead: int) -> nodes.Beat:
            await wire.switch(wires.Hanging())
            return await beat(database, owner, ahead=ahead)

        store = await PostgresStore.open(
            urlunsplit(url._replace(netloc=f"{url.username}@{wire.address}", query="pool_mode=transaction"))
        )
        await store.recover(now=NOON)
        monkeypatch.setattr(nodes, "beat", last)
        await asyncio.sleep(0.1)
        assert isinstance(wire.fault, wires.Hanging)
        ending = asyncio.create_task(store.close())
        ended, _ = await asyncio.wait([ending], timeout=30)
        assert ended


async def test_a_disk_that_is_full_is_told_and_found_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> Sequence[Acceptance]:
        raise DiskFullError("could not extend file")

    async with opened(tmp_path, 1) as (store,):
        monkeypatch.setattr(writer, "accept_all", full)
        with pytest.raises(StoreUnavailable, match="could not extend file") as caught:
            await store.accept(admission("crm"))
        assert caught.value.kind == "full"
        assert await claim(store) == []
        assert "could not extend file" in store.health().obstacle, "that others can do their work is no answer to it"
        monkeypatch.undo()
        await store.accept(admission("crm"))
        assert store.health().obstacle == ""


async def test_what_one_connection_finds_over_is_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> Sequence[Acceptance]:
        raise ConnectionResetError

    async with opened(tmp_path, 1) as (store,):
        monkeypatch.setattr(writer, "accept_all", away)
        with pytest.raises(StoreUnavailable):
            await store.accept(admission("crm"))
        assert "ConnectionResetError" in store.health().obstacle
        assert await claim(store) == []
        assert store.health().obstacle == ""


async def test_a_writer_that_dies_ends_the_store(tmp_path: Path) -> None:
    def broken(_: float) -> None:
        raise ZeroDivisionError("a listener")

    async with opened(tmp_path, 1) as (store,):
        store.on_commit(broken)
        await store.accept(admission("crm"))
        async with asyncio.timeout(30):
            assert "ZeroDivisionError: a listener" in str(await store.failed())
        with pytest.raises(StoreUnavailable, match="the writer died"):
            await store.accept(admission("crm"))
        assert "the writer died" in store.health().obstacle


async def test_a_heartbeat_that_dies_ends_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would hear of the node any more, and it would begin nothing and not say why."""

    async def broken(*_: object, **__: object) -> nodes.Beat:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(nodes, "BEAT_SECONDS", 0.01)
    async with opened(tmp_path, 1) as (store,):
        await store.recover(now=NOON)
        monkeypatch.setattr(nodes, "beat", broken)
        async with asyncio.timeout(30):
            assert "the heartbeat died: ZeroDivisionError: of ours" in str(await store.failed())
        assert "the heartbeat died" in store.health().obstacle


@pytest.mark.parametrize("analyzed", [False, True])
async def test_looking_for_duplicates_reads_a_few_marks_of_many_also_before_the_server_knows_how_many(
    *, analyzed: bool
) -> None:
    url = await create(shared(), schema=True)  # of one that was used before, the server knows something
    database = await connect(parse(url))
    try:
        await database.execute("ALTER TABLE relay.mark SET (autovacuum_enabled = off)")
        first = admission("crm", body=b"same", uuid="same", replay_window=WINDOW)
        await intake.accept_all(database, [intake.Candidate(first)])
        await database.execute("ANALYZE relay.mark" if analyzed else "SELECT 1")
        for repeated, hashed in (("'u-' || n", "body_hash"), ("uuid", "sha256(n::TEXT::BYTEA)")):
            await database.execute(
                f"INSERT INTO relay.mark SELECT source, webhook_id, {repeated}, {hashed}, seen_at, event_id"
                " FROM relay.mark CROSS JOIN generate_series(1, 2000) n WHERE uuid = 'same' AND event_id = $1",
                first.event.id,
            )
        before = await _marks_read(database)
        for number in range(5):
            given = [
                admission(body=b"same", replay_window=WINDOW),
                admission(body=b"new %d" % number, replay_window=WINDOW),
                admission(body=b"more %d" % number, uuid="same"),
            ]
            made = await intake.accept_all(database, [intake.Candidate(each) for each in given])
            assert [each.duplicate for each in made] == [DuplicateKind.BODY, None, None]
            assert made[2].conflict
        assert await _marks_read(database) - before < 100
    finally:
        database.terminate()
        await drop(url)


@pytest.mark.parametrize("forgotten", [0, 300])
@pytest.mark.parametrize("table", [None, "event", "mark", "delivery"])
async def test_what_was_planned_for_a_small_store_is_good_for_a_full_one(
    tmp_path: Path, table: str | None, forgotten: int
) -> None:
    """When the server looks how much there is, nobody knows: never, or while there is next to nothing, perhaps in
    tables that were larger once."""
    async with bystander(tmp_path) as database:
        for known in ("event", "mark", "delivery"):
            await database.execute(f"ALTER TABLE relay.{known} SET (autovacuum_enabled = off)")
        past = [intake.Candidate(admission("crm", replay_window=WINDOW)) for _ in range(forgotten)]
        await intake.accept_all(database, past)
        await database.execute("DELETE FROM relay.delivery; DELETE FROM relay.event; DELETE FROM relay.mark")
        read = [0]
        for number in range(12):
            if table and number == 4:
                await database.execute(f"ANALYZE relay.{table}")
            given = [admission("crm", replay_window=WINDOW) for _ in range(8)]
            given += [admission("ordered", order_key=f"meeting-{number % 4}") for number in range(8)]
            await intake.accept_all(database, [intake.Candidate(each) for each in given])
            for sink in ("crm", "ordered"):
                claimed = await outbox.claim(
                    database, sink, limit=4, newest=1, now=NOON, lease=LEASE, owner="me", seat=None, look=Look()
                )
                assert len(claimed) == 4
                await outbox.settle(database, [(each, DONE) for each in claimed], now=NOON)
            await database.execute("SELECT pg_stat_force_next_flush()")
            read.append(await database.fetchval("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes"))
        rounds = [after - before for before, after in pairwise(read)]
        assert 2 * rounds[-1] < 3 * rounds[2], f"each cost more than the one before: {rounds}"


async def test_what_vacuum_may_not_remove_is_passed_by_few_claims(tmp_path: Path) -> None:
    long_ago, look = to_micros(NOON - timedelta(seconds=100)), Look()

    async def begin(later: timedelta) -> list[int]:
        claimed = await outbox.claim(
            database, "crm", limit=8, newest=2, now=NOON + later, lease=LEASE, owner="me", seat=None, look=look
        )
        return [each.attempt for each in claimed]

    async with opened(tmp_path, 1) as (store,), bystander(tmp_path) as onlooker, bystander(tmp_path) as database:
        await onlooker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM relay.delivery")
        await database.execute(
            "INSERT INTO relay.delivery (event, route, sink, state, due_at, config)"
            " SELECT -n, 'r', 'crm', 'pending', $1, '' FROM generate_series(1, 5000) n",
            long_ago,
        )
        await database.execute("UPDATE relay.delivery SET state = 'delivered', due_at = NULL")
        before = await _due_passed(database)
        for number in range(10):
            await store.accept(admission("crm"))
            assert await begin(timedelta(milliseconds=number)) == [1]
        assert 5000 <= await _due_passed(database) - before < 2 * 5000
        await store.accept(admission("crm"))
        await database.execute("UPDATE relay.delivery SET due_at = $1 WHERE attempt = 0 AND event > 0", long_ago)
        assert await begin(timedelta(milliseconds=20)) == []
        assert await begin(timedelta(seconds=6)) == [1], "what comes to light late is found now and then"


async def _due_passed(database: Connection) -> int:
    """How many entries of the index of what is due were read so far."""
    await database.execute("SELECT pg_stat_force_next_flush()")
    return int(
        await database.fetchval("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'delivery_due'")
    )


async def _marks_read(database: Connection) -> int:
    await database.execute("SELECT pg_stat_force_next_flush()")
    return int(await database.fetchval("SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'mark'"))


async def test_a_connection_may_end_at_any_moment_of_a_question(tmp_path: Path) -> None:
    """Also between two questions that asyncpg has of its own, before it asks ours."""
    url, ended = await database_of(tmp_path), 0
    for moment in range(40):
        one = pool.Pool(parse(url), size=1, statement_ms=2_000)

        async def ask(node: Connection, moment: int = moment) -> object:
            asyncio.get_running_loop().call_later(0.0003 * moment, node.terminate)
            return await node.fetchval(
                "SELECT $1::BIGINT[] || $2::INTEGER[] IS NULL AND $3::TEXT[] IS NULL", [1], [1], []
            )

        try:
            await one.run(ask)
        except StoreUnavailable as error:
            ended += error.kind == "conn"
        await one.close()
    assert ended > 5
