"""`relay migrate`: what it does, what it says, and that looking changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit, urlunsplit

import pytest

from relay.records import Schema
from relay.stores import open_store, schema_of
from relay.stores.migrations import Migration, migrations
from relay.stores.postgres import schema
from relay.stores.postgres.connection import connect
from relay.stores.postgres.server import parse
from relay.stores.sqlite import connection
from tests.commands import as_json, done, invoke, opened
from tests.fakes.admissions import admission
from tests.running import write_config
from tests.scale.seed import Seeded, seed
from tests.storing import over_each_store, store_url


def _same(steps: list[Migration], _kind: str) -> list[Migration]:
    return steps


async def test_a_store_that_is_not_there_is_made(tmp_path: Path) -> None:
    write_config(tmp_path)
    newest = len(migrations("sqlite"))
    looked = await invoke(tmp_path, "migrate", "--check")
    assert looked.exit_code == 1
    assert "due   0001  initial\n" in looked.stdout
    assert f"{newest} migrations to be applied: no store -> schema {newest}" in looked.stdout
    assert not (tmp_path / "relay.db").exists(), "looking changes nothing"
    made = await done(tmp_path, "migrate")
    assert f"{newest} migrations applied: no store -> schema {newest}" in made
    assert await done(tmp_path, "migrate", "--check") == f"up to date: schema {newest}\n"


async def test_what_an_older_relay_wrote_is_brought_up_to_date(tmp_path: Path) -> None:
    write_config(tmp_path)
    seed(tmp_path / "relay.db", events=3, sinks=[Seeded("audit")], oldest=datetime.now(UTC), schema=1)
    assert (await invoke(tmp_path, "events", "list")).exit_code == 1
    looked = await invoke(tmp_path, "migrate", "--check", "--json")
    assert looked.exit_code == 1
    applied = await as_json(tmp_path, "migrate")
    assert applied["found"] == 1
    assert len(applied["due"]) == applied["known"] - 1
    assert applied["done"]
    assert len(await as_json(tmp_path, "events", "list")) == 3


@over_each_store
async def test_one_more_migration_is_told_and_then_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path)
    async with opened(tmp_path):
        before = await schema_of(store_url(tmp_path))
    assert list(before.due) == []
    known = before.known + 1
    for module, kind, table in ((connection, "sqlite", "more"), (schema, "postgres", "relay.more")):
        step = Migration(
            number=len(migrations(kind)) + 1, name="something more", sql=f"CREATE TABLE {table} (x INTEGER);"
        )
        monkeypatch.setattr(module, "migrations", partial(_same, [*migrations(kind), step]))
    looked = await invoke(tmp_path, "migrate", "--check")
    assert looked.exit_code == 1
    assert f"due   {known:04}  something more\n" in looked.stdout
    assert (await schema_of(store_url(tmp_path))).found == known - 1
    assert f"1 migration applied: schema {known - 1} -> schema {known}" in await done(tmp_path, "migrate")
    assert await done(tmp_path, "migrate") == f"up to date: schema {known}\n"


async def test_that_older_relays_must_end_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_config(tmp_path)
    told = Schema(found=2, known=4, due=["to take away", "to add"], oldest=3)

    async def found(_url: str) -> Schema:
        return told

    monkeypatch.setattr("relay.commands.migrate.schema_of", found)
    looked = await invoke(tmp_path, "migrate", "--check")
    assert "relays that know less than schema 3 cannot work with it: end them first" in looked.stdout


@pytest.mark.usefixtures("each_store")
@pytest.mark.parametrize("each_store", ["postgres"], indirect=True)
async def test_a_relay_that_may_create_nothing_starts_on_what_is_there(tmp_path: Path) -> None:
    """Its schema was made by one who may."""
    role, parts = f"relay_test_{token_hex(4)}", urlsplit(store_url(tmp_path))
    node = await connect(parse(store_url(tmp_path)))
    try:
        await node.execute(f"CREATE ROLE {role} LOGIN")
        await node.execute(f"GRANT USAGE ON SCHEMA relay TO {role}")
        await node.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA relay TO {role}")
        await node.execute(f"GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA relay TO {role}")
        at = parts.netloc.rpartition("@")[2]
        store = await open_store(urlunsplit(parts._replace(netloc=f"{role}@{at}")))
        try:
            await store.accept(admission("crm"))
            assert await store.totals() == {"routed": 1, "pending": 1}
            assert await store.end() == 1
        finally:
            await store.close()
        await node.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    finally:
        node.terminate()
