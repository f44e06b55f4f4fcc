"""What accepting, claiming and settling cost in stores that differ in what they hold: node and server, by turns."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time
from typing import TypeVar

import orjson
import uvloop

from bench.postgres.server import LOG_BYTES, Database
from relay.identity import new_event_id
from relay.model import Admission, Delivered, Delivery, Event, Target, value
from relay.ports import Store
from relay.stores import open_store
from tests import postgres

T = TypeVar("T")

STEPS = ("accept", "claim", "settle")
AT_ONCE = 100
"""Deliveries in one claim, and in one settlement."""
_SENDERS = 64
_SINK = "downstream"
_BODY = 600
_LEASE = timedelta(minutes=10)
_TIME = 600.0
# As a node claims and settles them all, some time ago; vacuum would hide what is to be seen.
_SETTLED = (
    "ALTER TABLE relay.delivery SET (autovacuum_enabled = off)",
    """
UPDATE relay.delivery SET attempt = attempt + 1, tries = tries + 1, due_at = due_at + 60000000, owner = 'gone'""",
    """
UPDATE relay.delivery SET state = 'delivered', due_at = NULL, owner = NULL, settled_at = due_at, receipt = '200 OK'""",
)


@value
class State:
    """A store to measure in."""

    name: str
    label: str
    url: str


@value
class Figure:
    """One step in one store, in one round; microseconds of processor time for each event."""

    state: str
    step: str
    round: int
    node_us: float
    database_us: float
    log_bytes: float

    @property
    def cpu_us(self) -> float:
        """All of it."""
        return self.node_us + self.database_us


@value
class Found:
    """All rounds."""

    figures: list[Figure]
    claims: dict[str, list[float]]
    """Seconds that each claim took, by state."""

    def median(self, state: str, step: str) -> float:
        """Microseconds for an event, node and server."""
        return statistics.median(each.cpu_us for each in self.figures if (each.state, each.step) == (state, step))


def measure(database: Database, states: Sequence[State], *, rounds: int, events: int) -> Found:
    """So many rounds, of so many events in each store, after one that is not counted."""
    return uvloop.run(_measure(database, states, rounds, events))


@asynccontextmanager
async def outdated(url: str) -> AsyncIterator[None]:
    """All deliveries settled, and somebody's transaction open who may still see what they were: no trace is removed."""
    async with postgres.connected(url) as onlooker, postgres.connected(url) as connection:
        await onlooker.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM relay.node")
        for statement in _SETTLED:
            await connection.execute(statement, timeout=_TIME)
        yield


async def _measure(database: Database, states: Sequence[State], rounds: int, events: int) -> Found:
    found = Found(figures=[], claims={state.name: [] for state in states})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(outdated(states[-1].url))
        stores = {state.name: await stack.enter_async_context(_opened(state.url)) for state in states}
        for number in range(rounds + 1):
            first = number % len(states)
            for state in (*states[first:], *states[:first]):
                figures, took = await _round(database, stores[state.name], state, number, events)
                if number:
                    found.figures.extend(figures)
                    found.claims[state.name] += took
    return found


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[Store]:
    store = await open_store(url)
    await store.recover(now=datetime.now(UTC))
    try:
        yield store
    finally:
        await store.close()


async def _round(
    database: Database, store: Store, state: State, number: int, events: int
) -> tuple[list[Figure], list[float]]:
    figures: list[Figure] = []

    async def meter(step: str, work: Awaitable[T]) -> T:
        written, node, server = await _log_bytes(state.url), process_time(), database.cpu()
        result = await work
        node, server = process_time() - node, database.cpu() - server
        figures.append(
            Figure(
                state=state.name,
                step=step,
                round=number,
                node_us=node / events * 1e6,
                database_us=server / events * 1e6,
                log_bytes=(await _log_bytes(state.url) - written) / events,
            )
        )
        return result

    await meter("accept", _accept(store, [_admission() for _ in range(events)]))
    took: list[float] = []
    claimed = await meter("claim", _claim(store, events, took))
    await meter("settle", _settle(store, claimed))
    return figures, took


async def _accept(store: Store, admissions: Sequence[Admission]) -> None:
    waiting = iter(admissions)

    async def send() -> None:
        for admission in waiting:
            await store.accept(admission)

    await asyncio.gather(*(send() for _ in range(_SENDERS)))


async def _claim(store: Store, events: int, took: list[float]) -> Sequence[Sequence[Delivery]]:
    gulps = []
    for _ in range(events // AT_ONCE):
        started = perf_counter()
        gulps.append(await store.claim(_SINK, limit=AT_ONCE, now=datetime.now(UTC), lease=_LEASE))
        took.append(perf_counter() - started)
    if sum(map(len, gulps)) != events // AT_ONCE * AT_ONCE:
        raise AssertionError(f"{sum(map(len, gulps))} of {events} were claimed")
    return gulps


async def _settle(store: Store, gulps: Sequence[Sequence[Delivery]]) -> None:
    for gulp in gulps:
        await store.settle([(delivery, Delivered(receipt="200 OK")) for delivery in gulp], now=datetime.now(UTC))


def _admission() -> Admission:
    now = datetime.now(UTC)
    uuid = os.urandom(16).hex()
    body = orjson.dumps({"event": "meeting.started", "meeting": {"id": uuid}}).ljust(_BODY)
    event = Event(
        id=new_event_id(now),
        source="dyte",
        type="meeting.started",
        body=body,
        headers={"content-type": "application/json"},
        received_at=now,
        webhook_id="a-webhook",
        uuid=uuid,
        meeting=f"meeting-{uuid[:2]}",
    )
    return Admission(event=event, targets=(Target(route="everything", sink=_SINK),), replay_window=timedelta(minutes=5))


async def _log_bytes(url: str) -> int:
    [[written]] = await postgres.fetch(url, LOG_BYTES)
    return int(written)
