"""Start, load, kill, start again; at the end let everything arrive, and collect what did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import apsw
import orjson
from aiohttp import web

from relay.app import running
from relay.config import load
from tests.crash.history import Arrival, History
from tests.crash.process import RelayProcess, write_config
from tests.crash.senders import sending
from tests.fakes.keys import key_pair
from tests.running import until

IN_FLIGHT = {"file": 8, "http": 8}
"""Concurrency of each sink."""
_SENDERS = 32
_KILL_EARLY = 0.15
"""Share of the relays that are killed as they start: a crash while the last crash is made good."""


class LaterClock:
    """The time in an hour, so that the leases of all that was killed have run out."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)


async def run(folder: Path, *, cycles: int, seed: int, told: Callable[[History], None] = lambda _: None) -> History:
    """Kill a relay so many times, then let its successor deliver all that is left; `told` is called after each kill."""
    history, rng = History(arrived={"file": [], "http": []}), Random(seed)
    async with receiving(history.arrived["http"]) as receiver:
        public_key = key_pair().public_pem
        config = write_config(folder, public_key=public_key, receiver=receiver, in_flight=IN_FLIGHT)
        async with sending(history, rng, _SENDERS) as senders:
            for _ in range(cycles):
                relay = await RelayProcess.start(config)
                try:
                    if rng.random() > _KILL_EARLY:
                        senders.go_on(await relay.listening())
                    await asyncio.sleep(rng.uniform(0.02, 0.6))  # the moment of the kill: any
                finally:
                    await relay.kill()
                history.kills += 1
                told(history)
        await _drain(config)
    history.arrived["file"] = read_file(folder / "events.jsonl")
    _check_store(folder / "relay.db")
    return history


@asynccontextmanager
async def receiving(arrived: list[Arrival]) -> AsyncIterator[str]:
    """An HTTP service that takes everything; its address."""

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        arrived.append(Arrival(request.headers["webhook-id"], body))
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/", take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def _drain(config: Path) -> None:
    async with running(load(config, {}), clock=LaterClock()) as app:

        async def drained() -> bool:
            return not await app.store.backlog()

        await until(drained, "empty backlog", timeout=60.0)
        totals = await app.store.totals()
        assert totals.get("dead", 0) == 0, totals
        assert totals.get("delivered", 0) == 2 * totals.get("routed", 0), totals


def read_file(path: Path) -> list[Arrival]:
    """The file sink's lines; one that a kill has cut off did not arrive."""
    arrivals = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            event_id = orjson.loads(line)["id"]
        except orjson.JSONDecodeError:
            continue
        arrivals.append(Arrival(event_id, line[line.index(b',"data":') + len(b',"data":') : -1]))
    return arrivals


def _check_store(path: Path) -> None:
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert connection.pragma("integrity_check") == "ok"
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    finally:
        connection.close()
