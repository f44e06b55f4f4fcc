"""Nodes that differ: another configuration, or a newer schema, while one after the other is deployed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from relay.stores import open_store
from relay.stores.migrations import Migration, migrations
from relay.stores.postgres import schema
from tests import postgres
from tests.commands import invoke
from tests.faults.cluster import Cluster, cluster
from tests.running import Relay, payload, until

pytestmark = pytest.mark.real_limits

HARMLESS = """-- oldest relay schema that may go on with it: 1
ALTER TABLE relay.event ADD COLUMN remark TEXT NOT NULL DEFAULT '';
ALTER TABLE relay.mark ADD COLUMN remark TEXT NOT NULL DEFAULT '';
ALTER TABLE relay.delivery ADD COLUMN remark TEXT NOT NULL DEFAULT '';
ALTER TABLE relay.failure ADD COLUMN remark TEXT NOT NULL DEFAULT '';
CREATE INDEX delivery_remark ON relay.delivery (remark) WHERE remark <> '';
"""
"""A step of a later relay that only adds."""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with postgres.database() as made:
        yield made


def _newer(kind: str) -> list[Migration]:
    steps = migrations(kind)
    return [*steps, Migration(number=len(steps) + 1, sql=HARMLESS)]


async def test_nodes_that_start_together_on_an_empty_database_all_start() -> None:
    async def start(url: str, after: float) -> None:
        await asyncio.sleep(after)
        await (await open_store(url)).close()

    for _ in range(4):
        async with postgres.database() as url, asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(start(url, 0.002 * number))


async def test_a_newer_node_migrates_under_older_ones_that_go_on(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path, url, nodes={"old": None}) as here:
        await here.acknowledged(40)
        await _read_everything(here.nodes["old"])  # before, so that it remembers how that is done
        with monkeypatch.context() as patch:
            patch.setattr(schema, "migrations", _newer)
            async with here.node("new"):
                await _each_takes_events(here)
                await _read_everything(here.nodes["old"])
                async with here.node("newest"):
                    await _each_takes_events(here)
                assert await here.failures("old") <= {"busy"}, "it waits for a lock, and that is all"
        [(number,)] = await postgres.fetch(url, "SELECT max(number) FROM relay.schema")
        assert number == len(migrations("postgres")) + 1
        async with here.node("old again"):
            await _each_takes_events(here)
        await here.drained()
        assert await here.problems(interrupted=0) == []


async def test_a_migration_that_has_to_wait_for_somebody_lets_the_relays_go_on(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a table has all others wait behind him."""
    async with cluster(tmp_path, url, nodes={"old": None}) as here, AsyncExitStack() as stack:
        await here.acknowledged(20)
        async with postgres.connected(url) as other:
            await other.execute("BEGIN; SELECT count(*) FROM relay.delivery")
            monkeypatch.setattr(schema, "migrations", _newer)
            starting = asyncio.create_task(stack.enter_async_context(here.node("new")))
            await here.waiting_for_a_lock()
            await here.acknowledged(100)
            assert not starting.done()
        await starting
        await _each_takes_events(here)
        await here.drained()
        assert await here.problems(interrupted=0) == []


async def _each_takes_events(here: Cluster) -> None:
    for name in here.nodes:
        here.post_at(name)
        await here.acknowledged(10)
    here.post_at(*here.nodes)


async def _read_everything(node: Relay) -> None:
    store = node.app.store
    [newest, *_] = await store.events(limit=10)
    assert await store.event(newest.event.id) is not None
    assert await store.deliveries(limit=10)
    await store.backlog()
    await store.sinks()
    await store.totals()


def _routes(**targets: str) -> list[dict[str, Any]]:
    """A route for each type of event."""
    return [{"name": kind, "events": [f"{kind}.*"], "to": [sink]} for kind, sink in targets.items()]


async def test_what_waits_for_a_sink_that_only_another_node_knows_waits_and_is_shown(tmp_path: Path, url: str) -> None:
    async with cluster(tmp_path, url, nodes={}, busy=False) as here:
        everything = here.sinks()
        async with here.node("old", sinks=here.sinks("free"), routes=_routes(meeting="free")) as old:
            async with here.node("new", sinks=everything, routes=_routes(meeting="ordered")) as new:
                old_ids = [(await old.post(payload(number=number))).json["id"] for number in range(5)]
                new_ids = [(await new.post(payload(number=number))).json["id"] for number in range(5, 10)]
                await here.arrived("free", 5)
                await here.arrived("ordered", 5)
                await here.drained()
                here.services["ordered"].open.clear()
                late = (await new.post(payload(number=10))).json["id"]
                await here.arrived("ordered", 6)
                here.services["ordered"].open.set()
                await here.drained()
            more = await _accepted_by_one_that_left(here, everything)
            await _waits_and_is_shown(here, old, more)
            async with here.node("new", sinks=everything, routes=_routes(meeting="ordered")):
                await here.drained()
        assert {arrival.event_id for arrival in here.history.arrived["free"]} == set(old_ids)
        assert [arrival.event_id for arrival in here.history.arrived["ordered"]] == [*new_ids, late, *more]


async def _accepted_by_one_that_left(here: Cluster, sinks: dict[str, Any]) -> list[str]:
    """Events for the sink of a node that took them in, and ended before it could deliver them."""
    closed = {name: {**options, "enabled": name != "ordered"} for name, options in sinks.items()}
    async with here.node("leaving", sinks=closed, routes=_routes(meeting="ordered")) as leaving:
        return [(await leaving.post(payload(number=number))).json["id"] for number in range(11, 14)]


async def _waits_and_is_shown(here: Cluster, node: Relay, events: list[str]) -> None:
    """The node does not know the sink, and shows what waits for it all the same."""

    async def shown() -> bool:
        return (await node.metrics())['relay_backlog{sink="(removed)"}'] == len(events)

    await until(shown, "backlog of a sink that this node does not know")
    told = await invoke(here.folder / "old", "sinks", "list")
    assert told.exit_code == 0, told.output
    assert "ordered" in told.output
