"""What accepting, claiming and settling cost in stores that differ in what they hold: node and server, by turns."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time
from typing import Any, TypeVar

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
VACUUM = "vacuum"
"""What vacuum does for the deliveries of a turn; not a step of theirs."""
AT_ONCE = 100
"""Deliveries in one claim, and in one settlement."""
_LUMP = 1_000
"""Events that are accepted, claimed and settled before the next."""
_A_SECOND = 2_000
"""Events, by the clock that claims are given: what happens every few seconds comes as often on a busy machine."""
_SENDERS = 64
_SINK = "downstream"
_BODY = 600
_LEASE = timedelta(minutes=10)
_TIME = 600.0
# When it comes is chance, and whom it is charged to; so each turn ends with one.
_TABLES = ("relay.event", "relay.mark", "relay.delivery")
_NO_VACUUM = tuple(f"ALTER TABLE {table} SET (autovacuum_enabled = off)" for table in _TABLES)
# As a node claims and settles them all, some time ago; vacuum would hide what is to be seen.
_SETTLED = (
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
        for statement in (*_NO_VACUUM, *_SETTLED):
            await connection.execute(statement, timeout=_TIME)
        yield


async def _measure(database: Database, states: Sequence[State], rounds: int, events: int) -> Found:
    found = Found(figures=[], claims={state.name: [] for state in states})
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(outdated(states[-1].url))
        places = [await stack.enter_async_context(_opened(database, state)) for state in states]
        for number in range(rounds + 1):
            first = number % len(places)
            for place in (*places[first:], *places[:first]):
                figures, took = await place.turn(number, events)
                if number:
                    found.figures.extend(figures)
                    found.claims[place.state.name] += took
    return found


@asynccontextmanager
async def _opened(database: Database, state: State) -> AsyncIterator[_Place]:
    store = await open_store(state.url)
    await store.recover(now=datetime.now(UTC))
    try:
        async with postgres.connected(state.url) as connection:
            for statement in _NO_VACUUM:
                await connection.execute(statement)
            yield _Place(database, state, store, connection)
    finally:
        await store.close()


class _Place:
    """A store that is measured, and what its steps have cost in this turn."""

    def __init__(self, database: Database, state: State, store: Store, connection: Any) -> None:
        self.state = state
        self._database = database
        self._store = store
        self._connection = connection
        self._clock = datetime.now(UTC) + timedelta(hours=1)  # all that is accepted meanwhile is due by it
        self._spent: dict[str, list[float]] = {}

    async def turn(self, number: int, events: int) -> tuple[list[Figure], list[float]]:
        """What each step costs, and how long each claim takes."""
        self._spent = {step: [0.0, 0.0, 0.0] for step in (*STEPS, VACUUM)}
        took: list[float] = []
        for _ in range(events // min(events, _LUMP)):
            await self._lump(min(events, _LUMP), took)
        await self._meter(VACUUM, self._connection.execute("VACUUM relay.delivery", timeout=_TIME))
        await self._connection.execute("VACUUM relay.event, relay.mark", timeout=_TIME)
        return [self._figure(step, number, events) for step in self._spent], took

    async def _lump(self, events: int, took: list[float]) -> None:
        self._clock += timedelta(seconds=events / _A_SECOND)
        await self._meter("accept", _accept(self._store, [_admission() for _ in range(events)]))
        claimed = await self._meter("claim", _claim(self._store, events, took, now=self._clock))
        await self._meter("settle", _settle(self._store, claimed, now=self._clock))

    async def _meter(self, step: str, work: Awaitable[T]) -> T:
        written, node, server = await self._log_bytes(), process_time(), self._database.cpu()
        result = await work
        node, server = process_time() - node, self._database.cpu() - server
        for place, more in enumerate((node, server, await self._log_bytes() - written)):
            self._spent[step][place] += more
        return result

    def _figure(self, step: str, number: int, events: int) -> Figure:
        node, server, written = (spent / events for spent in self._spent[step])
        return Figure(
            state=self.state.name,
            step=step,
            round=number,
            node_us=node * 1e6,
            database_us=server * 1e6,
            log_bytes=written,
        )

    async def _log_bytes(self) -> int:
        return int(await self._connection.fetchval(LOG_BYTES))


async def _accept(store: Store, admissions: Sequence[Admission]) -> None:
    waiting = iter(admissions)

    async def send() -> None:
        for admission in waiting:
            await store.accept(admission)

    await asyncio.gather(*(send() for _ in range(_SENDERS)))


async def _claim(store: Store, events: int, took: list[float], *, now: datetime) -> Sequence[Sequence[Delivery]]:
    gulps = []
    for _ in range(events // AT_ONCE):
        started = perf_counter()
        gulps.append(await store.claim(_SINK, limit=AT_ONCE, now=now, lease=_LEASE))
        took.append(perf_counter() - started)
    if sum(map(len, gulps)) != events // AT_ONCE * AT_ONCE:
        raise AssertionError(f"{sum(map(len, gulps))} of {events} were claimed")
    return gulps


async def _settle(store: Store, gulps: Sequence[Sequence[Delivery]], *, now: datetime) -> None:
    for gulp in gulps:
        await store.settle([(delivery, Delivered(receipt="200 OK")) for delivery in gulp], now=now)


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
