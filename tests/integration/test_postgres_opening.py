"""Opening a PostgreSQL store: what is refused and how that is said, what each connection keeps, and poolers."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from relay.errors import StartError, StoreUnusable
from relay.stores import open_store
from relay.stores.postgres import PostgresStore, pool
from relay.stores.postgres.connection import Connection, classify, connect, refusal
from relay.stores.postgres.pool import Pool
from relay.stores.postgres.server import parse
from tests.contract.postgres import database_of
from tests.fakes.admissions import NOON, admission
from tests.postgres import shared

PASSWORD = "hunter2"


def with_password(url: str, password: str = PASSWORD) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://relay:hunter2@127.0.0.1:1/x", r"cannot use 127\.0\.0\.1:1/x: .*is PostgreSQL running there"),
        ("postgresql://relay@127.0.0.1:1/x?password=hunter2", r"cannot use 127\.0\.0\.1:1/x"),
        ("postgresql://relay:p%40hunter2@127.0.0.1:1/x", r"cannot use 127\.0\.0\.1:1/x"),
        ("postgresql://relay:p/hunter2@127.0.0.1:1/x", r"cannot read the URL.* as %2F"),
        ("postgresql://relay:p?hunter2@127.0.0.1:1/x", r"cannot read the URL"),
        ("postgresql://relay:p#hunter2@127.0.0.1:1/x", r"cannot read the URL.*%23"),
        ("postgresql://relay:hunter2@127.0.0.1:port/x", r"cannot read the URL"),
        ("postgresql://relay:hunter2@[::1/x", r"cannot read the URL"),
        ("postgresql://relay:hunter2@127.0.0.1:1/x?pool_mode=statement", r"pool_mode is session or transaction"),
        ("postgresql://relay:hunter2@127.0.0.1:1/x?sslmode=hunter2", r"sslmode is one of disable"),
    ],
)
async def test_a_url_that_cannot_be_used_says_why_and_keeps_the_password(url: str, told: str) -> None:
    with pytest.raises(StartError, match=told) as caught:
        await open_store(url)
    assert PASSWORD not in f"{caught.value!r} {caught.value}"
    assert PASSWORD not in repr(caught.value.__cause__)


async def test_a_database_or_user_that_is_not_there_is_named_and_the_password_is_not() -> None:
    url = with_password(shared())
    missing = urlunsplit(urlsplit(url)._replace(path="/nothing_of_the_kind"))
    with pytest.raises(StartError, match=r"nothing_of_the_kind.*createdb --encoding=UTF8") as caught:
        await open_store(missing)
    assert PASSWORD not in str(caught.value)
    stranger = url.replace("://" + (urlsplit(url).username or ""), "://stranger_of_the_kind")
    with pytest.raises(StartError, match=r"check user and password") as caught:
        await open_store(stranger)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sslmode=require", r"let the server speak TLS"),
        ("sslmode=verify-full&sslrootcert=/no/such.pem", r"cannot be read: sslrootcert=/no/such\.pem"),
        ("sslmod=require", r"\"sslmod\"; .* knows it behind the `\?` of `store`"),
        ("channel_binding=require", r"\"channel_binding\"; .* take it out"),
        ("sslmode=verify-ca&service=none", r"; correct `store`"),
    ],
)
async def test_what_stands_behind_the_address_is_told_of(query: str, told: str) -> None:
    """Of these none is a reason to look whether the server is there."""
    url = urlsplit(with_password(shared()))
    with pytest.raises(StartError, match=told) as caught:
        await open_store(urlunsplit(url._replace(query=query)))
    assert "running there" not in str(caught.value)


async def test_a_server_that_is_too_old_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.stores.postgres.schema._OLDEST_SERVER", 99)
    with pytest.raises(StartError, match=r"is PostgreSQL \d\d, and the relay needs 99 or newer"):
        await PostgresStore.open(await database_of(tmp_path))


def test_what_an_error_quotes_is_cleaned_of_the_password() -> None:
    server = parse("postgresql://relay:p%40hunter2@db/x")
    assert "hunter2" not in str(classify(OSError("cannot reach postgresql://relay:p%40hunter2@db, p@hunter2"), server))
    assert "hunter2" not in repr(server)


@pytest.mark.real_limits
@pytest.mark.parametrize("first", [True, False])
async def test_a_server_that_is_lost_keeps_nobody_from_the_others(*, first: bool) -> None:
    """Its machine does not refuse: it says nothing."""
    url = urlsplit(with_password(shared()))
    user, _, there = url.netloc.rpartition("@")
    async with _silent() as lost:
        hosts = ",".join([lost, lost, there] if first else [there, lost])
        named = url._replace(netloc=f"{user}@{hosts}", query="target_session_attrs=primary")
        for _ in range(2):  # and is no trouble each time
            connection = await connect(parse(urlunsplit(named)))
            assert await connection.fetchval("SELECT 1") == 1
            connection.terminate()
        with pytest.raises(StartError, match=r"nothing_of_the_kind.*createdb --encoding=UTF8"):
            await open_store(urlunsplit(named._replace(path="/nothing_of_the_kind")))


@asynccontextmanager
async def _silent() -> AsyncIterator[str]:
    """Where connections come about, and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield "{}:{}".format(*server.getsockname())


async def test_a_schema_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    database = await _emptied(tmp_path)
    try:
        with pytest.raises(StartError, match=r"no store in .* yet; `relay serve` creates it"):
            await PostgresStore.open(await database_of(tmp_path), create=False)
        await database.execute("CREATE SCHEMA relay; CREATE TABLE relay.runner (leg INTEGER)")
        with pytest.raises(StoreUnusable, match="of another program"):
            await PostgresStore.open(await database_of(tmp_path))
        assert await database.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'relay'") == 1
    finally:
        database.terminate()


async def test_nodes_that_start_together_create_one_store(tmp_path: Path) -> None:
    (await _emptied(tmp_path)).terminate()
    url = await database_of(tmp_path)
    stores = await asyncio.gather(*(PostgresStore.open(url) for _ in range(4)))
    await asyncio.gather(*(store.accept(admission("crm")) for store in stores))
    assert (await stores[0].totals())["routed"] == 4
    for store in stores:
        await store.close()


async def _emptied(folder: Path) -> Connection:
    database = await connect(parse(await database_of(folder)))
    await database.execute("SET client_min_messages = warning; DROP SCHEMA relay CASCADE")
    return database


async def test_a_database_that_cannot_hold_all_texts_is_refused() -> None:
    name = "relay_test_sql_ascii"
    admin = await asyncpg.connect(shared())
    try:
        await admin.execute(f"DROP DATABASE IF EXISTS {name}")
        await admin.execute(
            f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'"
        )
        with pytest.raises(StoreUnusable, match="SQL_ASCII; name a database made with `createdb --encoding=UTF8`"):
            await open_store(urlunsplit(urlsplit(shared())._replace(path=f"/{name}")))
    finally:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        await admin.close()


async def test_a_newer_schema_that_only_adds_is_worked_with_and_another_is_refused(tmp_path: Path) -> None:
    database = await connect(parse(await database_of(tmp_path)))
    try:
        await database.execute("INSERT INTO relay.schema (number, oldest) VALUES (98, 1)")
        store = await PostgresStore.open(await database_of(tmp_path))
        await store.accept(admission("crm"))
        await store.close()
        await database.execute("INSERT INTO relay.schema (number, oldest) VALUES (99, 98)")
        with pytest.raises(StoreUnusable, match=r"schema 99 by a newer relay.*they have to know 98.*upgrade the relay"):
            await PostgresStore.open(await database_of(tmp_path))
    finally:
        database.terminate()


# What each connection keeps


@pytest.mark.real_limits
@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize(("default", "kept"), [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")])
async def test_what_is_committed_is_flushed_whatever_the_server_s_default_is(
    tmp_path: Path, mode: str, default: str, kept: str
) -> None:
    url = await database_of(tmp_path)
    database = await connect(parse(url))
    name = await database.fetchval("SELECT current_database()")
    await database.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = {default}')
    database.terminate()
    shared = Pool(parse(f"{url}?pool_mode={mode}"), size=1, statement_ms=2000)
    try:
        told = await shared.run(lambda connection: connection.fetch("SELECT name, setting FROM pg_settings"))
    finally:
        await shared.close()
    settings = dict(map(tuple, told))
    assert settings["synchronous_commit"] == kept
    assert {settings[name] for name in ("statement_timeout", "lock_timeout")} == {"2000", "1500"}
    assert settings["idle_in_transaction_session_timeout"] != "0"
    assert settings["jit"] == "off"
    assert mode == "transaction" or settings["tcp_keepalives_idle"] == "60"


async def test_behind_a_pooler_nothing_is_left_in_a_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each transaction the connection is somebody else's: here he forgets all that it holds."""
    whole = pool.Pool._alone

    async def handed_on(self: Pool, connection: Connection, query: pool.Query[object]) -> object:
        try:
            return await whole(self, connection, query)
        finally:
            await connection.execute("DISCARD ALL")

    monkeypatch.setattr(pool.Pool, "_alone", handed_on)
    store = await PostgresStore.open(f"{await database_of(tmp_path)}?pool_mode=transaction")
    try:
        assert await store.recover(now=NOON) == 0
        given = admission("crm", order_key="a \0 key")
        await asyncio.gather(*(store.accept(each) for each in (given, admission("crm"), given)))
        assert await store.totals() == {"routed": 2, "pending": 2}
        assert await store.event(given.event.id) is not None
        await asyncio.sleep(0)
        assert not store._hints.listening
        sessions = await store._reading.run(
            lambda connection: connection.fetch("SELECT name FROM pg_prepared_statements")
        )
        assert sessions == []
    finally:
        await store.close()


async def test_the_server_is_told_who_is_connected(tmp_path: Path) -> None:
    database = await connect(parse(await database_of(tmp_path)))
    name = await database.fetchval("SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()")
    database.terminate()
    assert re.match("dyte-relay", name)


def test_who_stands_behind_a_pooler_is_told_what_to_write() -> None:
    refused = asyncpg.ProtocolViolationError("unsupported startup parameter: statement_timeout")
    told = str(refusal(refused, parse("postgresql://relay:hunter2@127.0.0.1:6432/relay")))
    assert "behind PgBouncer write `?pool_mode=transaction` at the end of `store`" in told
    assert PASSWORD not in told
