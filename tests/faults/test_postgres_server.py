"""The database's server crashes, stands still, has no room for connections, or is kept from work by somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest

from tests import postgres
from tests.faults.cluster import CONCURRENCY, Cluster, cluster
from tests.postgres.server import USER, Server

pytestmark = pytest.mark.real_limits

INTERRUPTED = 2 * 2 * CONCURRENCY
"""Deliveries that two nodes may have under way at one sink, and results of as many that wait to be recorded."""
_MOST = 24
"""Connections that a small server takes."""
_APP = "app"
"""A user without privileges: the last connections are kept for the others."""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Whose commits are synced: it is to crash."""
    with postgres.start() as started:
        yield started


@pytest.fixture
async def url(server: Server) -> AsyncIterator[str]:
    server.start()
    async with postgres.database(server.url()) as made:
        yield made


async def _goes_on(here: Cluster) -> None:
    """Each of the nodes takes events, and everything that was acknowledged arrives."""
    for name in here.nodes:
        here.post_at(name)
        await here.acknowledged(10)
    await here.drained()
    assert await here.problems(interrupted=INTERRUPTED) == []
    for name in here.nodes:
        assert await here.answered_in_time(name), name
        await here.is_ready(name)


async def test_a_server_that_crashes_under_load_costs_503s_and_no_event(
    tmp_path: Path, server: Server, url: str
) -> None:
    async with cluster(tmp_path, url) as here:
        await here.acknowledged(50)
        await asyncio.to_thread(server.crash)
        await here.refused(20)  # so that those who were answered before have heard of it
        acknowledged = here.history.acknowledged
        await here.refused(20)
        assert here.history.acknowledged == acknowledged
        for name in here.nodes:
            await here.is_ready(name, status=503)
        await asyncio.to_thread(server.start)
        here.tell("after the crash", await here.acknowledged(50))
        await asyncio.to_thread(server.crash)
        await asyncio.to_thread(server.start)  # at once, as `pg_ctl restart -m immediate` does it
        here.tell("after the restart", await here.acknowledged(50))
        await _goes_on(here)


async def test_a_server_that_stands_still_is_answered_for_in_time(tmp_path: Path, server: Server, url: str) -> None:
    async with cluster(tmp_path, url) as here:
        await here.acknowledged(20)
        server.pause()
        try:
            await here.refused(10)
        finally:
            server.resume()
        here.tell("after the standstill", await here.acknowledged(20))
        await _goes_on(here)


async def test_somebody_who_keeps_a_transaction_open_disturbs_nobody(tmp_path: Path, url: str) -> None:
    async with cluster(tmp_path, url) as here, postgres.connected(url) as other:
        await here.acknowledged(20)
        await other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM relay.delivery")
        await here.acknowledged(50)
        for name in here.nodes:
            assert await here.failures(name) == set()
        await _goes_on(here)


@pytest.mark.parametrize("table", ["event", "delivery", "node"])
async def test_somebody_who_locks_a_table_costs_503s_and_no_event(tmp_path: Path, url: str, table: str) -> None:
    async with cluster(tmp_path, url) as here:
        await here.acknowledged(20)
        async with postgres.connected(url) as other:
            await other.execute(f"BEGIN; LOCK TABLE relay.{table} IN ACCESS EXCLUSIVE MODE")
            if table == "node":  # of which only those know who take over what others had begun
                await here.acknowledged(50)
            else:
                await here.refused(10)
        here.tell(f"after the lock on {table}", await here.acknowledged(20))
        await _goes_on(here)


async def test_somebody_who_locks_what_waits_for_a_sink_holds_up_no_other_sink(tmp_path: Path, url: str) -> None:
    async with cluster(tmp_path, url) as here:
        here.services["ordered"].open.clear()
        await here.acknowledged(40)
        async with postgres.connected(url) as other:
            await other.execute(
                "BEGIN; SELECT FROM relay.delivery WHERE sink = 'ordered' AND state = 'pending' ORDER BY id FOR UPDATE"
            )
            here.services["ordered"].open.set()
            await here.acknowledged(40)
            await here.arrived("free", len(here.history.arrived["free"]) + 40)
        await _goes_on(here)


# Connections


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Server]:
    """A server with few connections, and a database in which a user without privileges may do everything."""
    with postgres.start(settings={"max_connections": f"{_MOST}"}) as started:
        await postgres.execute(started.url(), f"CREATE ROLE {_APP} LOGIN")
        await postgres.execute(started.url(), f"CREATE DATABASE relays OWNER {_APP}")
        yield started


@asynccontextmanager
async def _crowded(small: Server) -> AsyncIterator[None]:
    """The relays lose their connections, and somebody else has taken all that there are."""
    url = small.url()
    await postgres.execute(url, "ALTER DATABASE relays CONNECTION LIMIT 0")
    await postgres.execute(url, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = 'relays'")
    async with AsyncExitStack() as stack:
        for _ in range(_MOST):
            with suppress(asyncpg.TooManyConnectionsError):
                await stack.enter_async_context(postgres.connected(_as_app(small, "postgres")))
        await postgres.execute(url, "ALTER DATABASE relays CONNECTION LIMIT -1")
        yield


def _as_app(small: Server, database: str) -> str:
    return small.url(database).replace(f"{USER}@", f"{_APP}@")


async def test_no_connection_is_left_for_the_relays(tmp_path: Path, small: Server) -> None:
    async with cluster(tmp_path, _as_app(small, "relays")) as here:
        await here.acknowledged(20)
        async with _crowded(small):
            await here.refused(10)
            for name in here.nodes:
                await here.is_ready(name, status=503)
        here.tell("after the crowd", await here.acknowledged(20))
        await _goes_on(here)
