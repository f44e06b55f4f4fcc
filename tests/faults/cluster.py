"""Several relays on one database, senders that post at all of them, and services that note what comes.

What must hold is what must hold after kills: see tests/crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from aiohttp import web

from relay.errors import StartError, StoreUnavailable
from tests import postgres
from tests.crash.history import Arrival, History, digest_of, problems
from tests.crash.receiver import Served, serving
from tests.crash.senders import Senders, sending
from tests.crash.stored import PostgresBook
from tests.running import Relay, relay_running, until
from tests.standstill import Standstill

SINKS = ("ordered", "free")
CONCURRENCY = 4
SENDERS = 4
_PAUSE = 0.08
"""Seconds between two webhooks of a sender."""
_STARTS = 4
SOON = 40.0
"""Seconds within which what is promised within five has happened even on a busy machine; a lease lasts for sixty."""


class Service:
    """Takes everything, at once or when it is let."""

    def __init__(self, arrived: list[Arrival]) -> None:
        self.arrived = arrived
        self.open = asyncio.Event()
        """While it is not set, nothing is answered."""
        self.open.set()

    def hold(self) -> asyncio.Event:
        """Answer nothing of what comes from now on until this event is set, or until another call changes it."""
        self.open = asyncio.Event()
        return self.open

    def go_on(self) -> None:
        """Answer at once what comes from now on. What is held stays so."""
        self.hold().set()

    async def take(self, request: web.Request) -> web.Response:
        body, opened = await request.read(), self.open
        self.arrived.append(Arrival(request.headers["webhook-id"], digest_of(body)))
        await opened.wait()
        return web.Response(status=204)


class Cluster:
    """The nodes, by name, and all that happens around them."""

    def __init__(
        self, folder: Path, book: PostgresBook, senders: Senders, served: Served, standstill: Standstill
    ) -> None:
        self.history = senders.history
        self.senders = senders
        self.nodes: dict[str, Relay] = {}
        self.services: dict[str, Service] = {}
        self.busy = True
        """Whether the senders post at all nodes that there are."""
        self.folder = folder
        self._book = book
        self._served = served
        self._standstill = standstill

    @asynccontextmanager
    async def node(self, name: str, *, store: str | None = None, **parts: Any) -> AsyncIterator[Relay]:
        """One more node; `store` is its way to the database, `parts` is what is otherwise in its configuration."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        parts = {"sinks": self.sinks(), **parts}
        async with AsyncExitStack() as stack:
            relay = await _begun(stack, folder, store=store or self._book.url, **parts)
            self.nodes[name] = relay
            self._post_at_all()
            try:
                yield relay
            finally:
                del self.nodes[name]
                self._post_at_all()

    def sinks(self, *names: str, **options: Any) -> dict[str, Any]:
        """The part of a configuration with these sinks, or with both."""
        common = {"type": "http", "allow_private": True, "concurrency": CONCURRENCY, "timeout": "30s"}
        retry = {"base": "10ms", "cap": "50ms", "max_attempts": 1000}
        return {
            name: {
                **common, "url": f"{self._served.url}/{name}", "retry": retry,
                "order": "meeting" if name == "ordered" else "none", **options,
            }
            for name in names or SINKS
        }  # fmt: skip

    def post_at(self, *names: str) -> None:
        """Let the senders at these nodes and no others."""
        self.senders.go_on(*(str(self.nodes[name].app.gateway_address) for name in names))

    def _post_at_all(self) -> None:
        if self.busy:
            self.post_at(*self.nodes)

    async def acknowledged(self, more: int) -> float:
        """Return when so many more events are acknowledged; the seconds that it took."""
        return await self._reached(more, lambda: self.history.acknowledged, "more acknowledged events")

    async def refused(self, more: int) -> float:
        """Return when so many more requests were told to come back later."""
        return await self._reached(more, lambda: sum(each.busy for each in self.history.sent), "more 503s")

    async def arrived(self, sink: str, count: int) -> float:
        """Return when so many deliveries in all have arrived at the sink."""
        seen = self.history.arrived[sink]
        return await self._reached(count - len(seen), lambda: len(seen), f"more arrivals at {sink}")

    async def waiting_for_a_lock(self) -> None:
        """Return when somebody waits until a table is his own."""

        async def waits() -> bool:
            query = "SELECT FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND locktype = 'relation' AND NOT granted"
            return bool(await postgres.fetch(self._book.url, query))

        await until(waits, "lock that somebody waits for", timeout=SOON)

    async def is_ready(self, name: str, *, status: int = 200) -> None:
        """Return when the node says so: 200 if it is, 503 if not."""

        async def says() -> bool:
            return (await self.nodes[name].admin("/readyz")).status == status

        await until(says, f"{status} of /readyz at {name}", timeout=SOON)

    def tell(self, what: str, seconds: float) -> None:
        """Show how long something took: nothing depends on it, and `pytest -s` shows it."""
        print(f"{what}: {seconds:.1f} s")  # noqa: T201

    async def drained(self) -> float:
        """Stop the senders, and return when nothing waits in the store."""
        self.senders.pause()
        began = monotonic()

        async def empty() -> bool:
            return not await self._book.waits()

        await until(empty, "empty backlog", timeout=SOON)
        return monotonic() - began

    async def answered_in_time(self, name: str) -> bool:
        """Whether all answers of a node were ready before its senders lost patience, unless the machine stood still."""
        metrics = await self.nodes[name].metrics()
        in_time = metrics['relay_ack_seconds_bucket{le="2.5",source="dyte"}']
        answered = metrics['relay_ack_seconds_count{source="dyte"}']
        return answered > 0 and (in_time == answered or self._standstill.excuses)

    async def failures(self, name: str) -> set[str]:
        """The kinds of trouble that a node has had with the store; of none where the machine stood still."""
        if self._standstill.excuses:
            return set()
        metrics = await self.nodes[name].metrics()
        errors = {each: count for each, count in metrics.items() if each.startswith("relay_store_errors")}
        return {each.split('"')[1] for each, count in errors.items() if count and "_total{" in each}

    async def problems(self, *, interrupted: int) -> list[str]:
        """All that is wrong, once nothing waits; `interrupted` deliveries at most may have come twice, of each sink."""
        self.history.stored = await self._book.look(sinks=len(SINKS))
        self.history.kills = 1
        return problems(self.history, under_way=dict.fromkeys(SINKS, interrupted), ordered=("ordered",))

    async def _reached(self, more: int, count: Any, what: str) -> float:
        wanted, began = count() + more, monotonic()

        async def enough() -> bool:
            return bool(count() >= wanted)

        await until(enough, f"{more} {what}", timeout=SOON)
        return monotonic() - began


async def _begun(stack: AsyncExitStack, folder: Path, **parts: Any) -> Relay:
    """A relay that is begun again, as systemd does it, where the database did not answer in time."""
    for number in range(1, _STARTS + 1):
        try:
            return await stack.enter_async_context(relay_running(folder, **parts))
        except (StartError, StoreUnavailable):
            if number == _STARTS:
                raise
    raise AssertionError


@asynccontextmanager
async def cluster(
    folder: Path, url: str, *, nodes: Mapping[str, str | None] | None = None, busy: bool = True
) -> AsyncIterator[Cluster]:
    """A cluster of these nodes, each by its way to the database; if it is busy, the senders begin to post at once."""
    history = History(arrived={sink: [] for sink in SINKS})
    services = {sink: Service(history.arrived[sink]) for sink in SINKS}
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(serving({sink: each.take for sink, each in services.items()}))
        senders = await stack.enter_async_context(sending(history, Random(1), SENDERS))
        senders.pause_between = _PAUSE
        standstill = stack.enter_context(Standstill())
        made = Cluster(folder, PostgresBook(url), senders, served, standstill)
        made.services, made.busy = services, busy
        for name, way in ({"one": None, "two": None} if nodes is None else nodes).items():
            await stack.enter_async_context(made.node(name, store=way))
        try:
            yield made
        finally:
            senders.pause()
            for each in services.values():
                each.open.set()
