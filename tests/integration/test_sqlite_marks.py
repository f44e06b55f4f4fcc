"""The SQLite store's marks: what their keys may collide with, how they are filed, and how older stores get them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import apsw
import pytest

from relay.model import Acceptance, Admission, DuplicateKind
from relay.stores.migrations import migrations
from relay.stores.rows import to_micros
from relay.stores.sqlite import SqliteStore, intake, ledger, marks
from relay.stores.sqlite.connection import APPLICATION_ID, open_file
from tests.fakes.admissions import NOON, admission
from tests.running import until

UUID, BODY = DuplicateKind.UUID, DuplicateKind.BODY
WINDOW = timedelta(minutes=5)
OLDER = 3
"""The last schema in which marks had no keys."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.db"


@pytest.fixture
def connection(path: Path) -> Iterator[apsw.Connection]:
    opened = open_file(path, create=True)
    yield opened
    opened.close()


def accept(connection: apsw.Connection, *given: Admission) -> Sequence[Acceptance]:
    connection.execute("BEGIN IMMEDIATE")
    answers = intake.accept_all(connection, given)
    connection.execute("COMMIT")
    return answers


def keys(connection: apsw.Connection, table: str) -> list[Any]:
    return connection.execute(f"SELECT key, detail, mark FROM {table} ORDER BY 1, 2, 3").fetchall()


def wanted(connection: apsw.Connection) -> list[Any]:
    """What both tables together have to hold."""
    return sorted(
        connection.execute("SELECT uuid_key, body_key, id FROM mark UNION ALL SELECT body_key, seen_at, id FROM mark")
    )


def constant(key: Any, *_: object) -> Any:
    return key


def repeats(**given: Any) -> list[Admission]:
    """Of an event: a new one, and each kind of repeat, with what is none."""
    seen = partial(admission, replay_window=WINDOW, **given)
    return [
        seen(uuid="u", body=b"first"),
        seen(uuid="u", body=b"first"),
        seen(uuid="other", body=b"first"),
        seen(uuid="other", body=b"first"),
        seen(uuid="u", body=b"second"),
        seen(uuid="u", body=b"first", webhook_id="another"),
        seen(uuid="u", body=b"first", source="realtimekit"),
        seen(uuid="more", body=b"first", received_at=NOON + 2 * WINDOW),
        seen(uuid=None, body=b"third"),
        seen(uuid="third", body=b"third"),
    ]


TOLD = [None, UUID, BODY, UUID, None, None, None, None, None, BODY]
CONFLICTS = [4]


@pytest.mark.parametrize("collide", [(), ("uuid_key",), ("body_key",), ("uuid_key", "body_key"), ("_registration",)])
@pytest.mark.parametrize("filed", [0, 1, 3])
def test_keys_that_collide_make_no_duplicate_and_hide_none(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch, collide: Sequence[str], filed: int
) -> None:
    for name in collide:
        monkeypatch.setattr(marks, name, partial(constant, b"same" if name == "_registration" else 7))
    answers: list[Acceptance] = []
    for each in repeats():
        answers += accept(connection, each)
        if filed:
            marks.file(connection, marks.LEAST, limit=filed)
        assert sorted(keys(connection, "mark_fresh") + keys(connection, "mark_filed")) == wanted(connection)
    assert [answer.duplicate for answer in answers] == TOLD
    assert [number for number, answer in enumerate(answers) if answer.conflict] == CONFLICTS
    assert accept(connection, *repeats(received_at=NOON + WINDOW)[:2])[0].event_id == answers[0].event_id
    assert ledger.event(connection, "third") is not None
    assert marks.events_of(connection, "other") == {answers[0].event_id}


def test_keys_are_filed_once_round_and_round(connection: apsw.Connection) -> None:
    accept(connection, *(admission(body=b"%d" % number) for number in range(40)))
    whole, start, filed = wanted(connection), marks.LEAST, 0
    assert keys(connection, "mark_fresh") == whole
    for _ in range(8):
        start = marks.file(connection, start, limit=10)
        filed += 10
        assert keys(connection, "mark_filed") == whole[:filed], "neighbours go together"
        assert keys(connection, "mark_fresh") == whole[filed:]
    assert start == marks.LEAST


def test_more_keys_of_one_value_than_go_at_once_are_filed_too(
    connection: apsw.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(marks, "uuid_key", lambda _: 7)
    accept(connection, *(admission(body=b"%d" % number) for number in range(40)))
    start = marks.LEAST
    for _ in range(8):
        start = marks.file(connection, start, limit=10)
    assert (keys(connection, "mark_fresh"), start) == ([], marks.LEAST)


async def test_a_store_files_what_has_gathered_and_tells_duplicates_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, setting in (("FRESH", 50), ("PIECE", 7)):
        monkeypatch.setattr(marks, name, setting)
    monkeypatch.setattr("relay.stores.sqlite.upkeep._CHECKPOINT_EVERY", 0.01)
    store = await SqliteStore.open(path)
    given = [admission(body=b"%d" % number) for number in range(100)]

    async def are_filed() -> bool:
        waiting: int = await store._reading.run(lambda reading: reading.execute("SELECT count(*) FROM mark_fresh").get)
        return 50 <= waiting < 57

    await asyncio.gather(*(store.accept(each) for each in given))
    await until(are_filed, "filing")
    assert {(await store.accept(each)).duplicate for each in given} == {UUID}
    await store.close()


async def test_what_is_forgotten_leaves_no_keys(path: Path) -> None:
    store = await SqliteStore.open(path)
    for each in repeats():
        await store.accept(each)
    await store._writer.submit(partial(marks.file, start=marks.LEAST, limit=7))
    later = NOON + timedelta(days=1)
    assert (await store.purge(delivered_before=later, dead_before=later, limit=100)).done == 6
    await store.close()
    with open_file(path, create=True) as connection:
        left = [connection.execute(f"SELECT count(*) FROM {table}").get for table in (*marks.KEYS, "mark")]
    assert left == [0, 0, 0]


async def test_of_two_that_write_to_one_file_only_one_makes_the_event(path: Path) -> None:
    """No index forbids a second mark: each looks and writes in a transaction that keeps the others out."""
    stores = [await SqliteStore.open(path) for _ in range(3)]
    for number in range(10):
        given = admission("crm", body=b"%d" % number)
        told = await asyncio.gather(*(store.accept(given) for store in stores for _ in range(2)))
        assert [each.duplicate for each in told].count(None) == 1
    assert await stores[0].totals() == {"routed": 10, "pending": 10}
    for store in stores:
        await store.close()


@pytest.mark.parametrize("many", ["repeats of one body", "bodies of one uuid", "registrations of one uuid"])
def test_a_sender_cannot_make_the_look_for_duplicates_long(connection: apsw.Connection, many: str) -> None:
    """In steps of SQLite's machine, for each kind of what is looked for."""

    def one(number: int) -> Admission:
        match many:
            case "repeats of one body":
                return admission(uuid=f"{many} {number}", body=b"same", replay_window=WINDOW)
            case "bodies of one uuid":
                return admission(uuid="same", body=b"%d" % number)
            case _:
                return admission(uuid="same", body=b"same", webhook_id=f"{number}")

    def steps(first: int) -> int:
        taken = 0

        def count() -> bool:
            nonlocal taken
            taken += 1
            return False

        connection.set_progress_handler(count, 1)
        try:
            accept(connection, one(first))
            accept(connection, one(first))
            accept(connection, admission(uuid="same", body=b"%d" % -first, webhook_id="new"))
        finally:
            connection.set_progress_handler(None)
        return taken

    accept(connection, one(-1))
    few = steps(0)
    with connection:
        for number in range(1, 1000):
            intake.accept_all(connection, [one(number)])
        marks.file(connection, marks.LEAST, limit=marks.PIECE)
    assert steps(1000) < 1.5 * few


# Stores of before


def older(path: Path, *, events: int = 0) -> list[Admission]:
    """A store in which marks have no keys: they are of an event, its repeat, one without a uuid, and of more."""
    connection = apsw.Connection(str(path))
    for step in migrations("sqlite")[:OLDER]:
        connection.execute(step.sql)
    connection.execute(f"PRAGMA user_version = {OLDER}; PRAGMA application_id = {APPLICATION_ID}")
    given = [admission("crm", uuid="u", body=b"first"), admission("crm", uuid=None, body=b"third")]
    given += [admission("crm", body=b"%d" % number) for number in range(events)]
    with connection:
        intake._insert(connection, given)
        for each in given:
            _mark(connection, each, each.event.uuid or f"event:{each.event.id}")
        _mark(connection, given[0], "other")
    connection.close()
    return given


def _mark(connection: apsw.Connection, of: Admission, uuid: str) -> None:
    event = of.event
    connection.execute(
        "INSERT INTO mark (source, webhook_id, uuid, body_hash, seen_at, event_id) VALUES (?, ?, ?, ?, ?, ?)",
        (
            event.source,
            event.webhook_id,
            uuid,
            hashlib.sha256(event.body).digest(),
            to_micros(event.received_at),
            event.id,
        ),
    )


async def test_what_an_older_store_has_seen_is_told_afterwards_as_before(path: Path) -> None:
    first, third, *others = older(path, events=50)
    store = await SqliteStore.open(path)
    told = [await store.accept(each) for each in repeats(received_at=NOON + WINDOW)[1:7]]
    assert [each.duplicate for each in told] == [UUID, UUID, UUID, *TOLD[4:7]], "the mark of a repeat is known too"
    assert [each.event_id for each in told[:3]] == [first.event.id] * 3
    assert [each.conflict for each in told] == [False, False, False, True, False, False]
    again = await store.accept(admission(uuid="third", body=b"third", replay_window=WINDOW))
    assert (again.duplicate, again.event_id) == (BODY, third.event.id)
    later = NOON + WINDOW + timedelta(seconds=1)
    late = admission(uuid="late", body=b"third", received_at=later, replay_window=WINDOW)
    assert (await store.accept(late)).duplicate is None
    assert {(await store.accept(each)).duplicate for each in others} == {UUID}
    found = await store.event("other")
    assert found is not None
    assert found.event.id == first.event.id
    await store.close()
    with open_file(path, create=True) as connection:
        assert sorted(keys(connection, "mark_fresh") + keys(connection, "mark_filed")) == wanted(connection)
        assert len(keys(connection, "mark_filed")) == 2 * (2 + 1 + len(others)), "those of before are filed"


def test_an_upgrade_that_ends_in_the_middle_has_not_begun(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before each of its statements, and while keys are made."""
    older(path, events=5)
    before = content(path)
    real, ended, at = apsw.Connection, [0], [0]

    def tracer(_cursor: object, _statement: str, _bindings: object) -> bool:
        ended[0] += 1
        if ended[0] == at[0]:
            raise Ended
        return True

    def register(connection: apsw.Connection) -> None:
        connection.exec_trace = tracer
        real_register(connection)

    real_register = marks.register
    monkeypatch.setattr(marks, "register", register)
    for moment in range(1, 100):
        ended[0], at[0] = 0, moment
        try:
            open_file(path, create=True).close()
        except Ended:
            assert content(path) == before
        else:
            break
    assert 12 < ended[0] < at[0] < 40, "each statement was one moment"
    connection = real(str(path))
    assert connection.pragma("user_version") == len(migrations("sqlite"))
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


class Ended(Exception):
    """A kill."""


def content(path: Path) -> tuple[object, ...]:
    connection = apsw.Connection(str(path))
    try:
        return (
            connection.pragma("user_version"),
            connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall(),
            connection.execute("SELECT * FROM mark ORDER BY 1, 2, 3, 4").fetchall(),
        )
    finally:
        connection.close()
