"""Any store, step by step beside a model that is too simple to be wrong: accepts, claims, late results, lost leases."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.model import (
    Admission,
    Dead,
    Delivered,
    Delivery,
    DeliveryState,
    DuplicateKind,
    EventState,
    Failure,
    Quarantine,
    Reason,
    Retry,
    Verdict,
)
from relay.ports import Store
from tests.contract.stores import STORES
from tests.effort import effort
from tests.fakes.admissions import NOON, admission

LEASE = timedelta(seconds=60)
SINKS = ("crm", "audit")
_SINK = st.sampled_from(SINKS)
FAILED = Failure(reason=Reason.UNAVAILABLE, detail="503")
PENDING, DELIVERED, DEAD = DeliveryState.PENDING, DeliveryState.DELIVERED, DeliveryState.DEAD


@dataclass
class Row:
    """What a delivery is to the model."""

    event_id: str
    sink: str
    key: str | None
    due: datetime | None
    state: DeliveryState = PENDING
    attempt: int = 0
    tries: int = 0
    accepted: datetime = field(default=NOON, compare=False)


class StoreMachine(RuleBasedStateMachine):
    """Everything that a gateway and lanes may do, in any order; after each step the store is what the model is."""

    kind: ClassVar[str]
    """One of `STORES`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.rows: list[Row] = []
        """In the order of acceptance, which is that of the ids."""
        self.admitted: list[Admission] = []
        self.events: Counter[EventState] = Counter()
        self.leased: list[tuple[Delivery, Row]] = []
        """All claims ever; a worker may settle any of them, at any time, and twice."""
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._open()

    def teardown(self) -> None:
        self._runner.run(self._store_stack.aclose())
        self._runner.run(self._stack.aclose())
        self._runner.close()

    @rule(keys=st.lists(st.sampled_from(["a", "a", "b", None]), min_size=1, max_size=3), sinks=st.sets(_SINK))
    def accept(self, keys: list[str | None], sinks: set[str]) -> None:
        for key in keys:
            self._accept(key, sorted(sinks), None)

    @rule()
    def accept_for_nobody(self) -> None:
        self._accept("a", [], Quarantine.ORGANIZATION)

    @precondition(lambda self: self.admitted)
    @rule(data=st.data())
    def accept_again(self, data: st.DataObject) -> None:
        given = data.draw(st.sampled_from(self.admitted))
        acceptance = self._runner.run(self.store.accept(given))
        assert (acceptance.event_id, acceptance.duplicate) == (given.event.id, DuplicateKind.UUID)

    @rule(sink=_SINK, limit=st.integers(1, 4), newest=st.integers(0, 2), seconds=st.sampled_from([0, 0, 1, 61]))
    def claim(self, sink: str, limit: int, newest: int, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        newest = min(newest, limit)
        claimed = self._runner.run(self.store.claim(sink, limit=limit, newest=newest, now=self.now, lease=LEASE))
        due = [row for row in self.rows if row.sink == sink and row.due is not None and row.due <= self.now]
        due.sort(key=lambda row: row.due or NOON)  # stable: the earlier accepted one goes first
        expected = due if len(due) <= limit else due[: limit - newest] + due[len(due) - newest :]
        rows = {row.event_id: row for row in expected}
        assert sorted(delivery.event.id for delivery in claimed) == sorted(rows)
        for delivery in claimed:
            row = rows[delivery.event.id]
            row.attempt, row.tries, row.due = row.attempt + 1, row.tries + 1, self.now + LEASE
            assert (delivery.attempt, delivery.tries) == (row.attempt, row.tries)
            self.leased.append((delivery, row))

    @precondition(lambda self: self.leased)
    @rule(
        which=st.integers(0, 7), outcome=st.sampled_from(DeliveryState), wait=st.integers(0, 90), counted=st.booleans()
    )
    def settle(self, which: int, outcome: DeliveryState, wait: int, *, counted: bool) -> None:
        delivery, row = self._lately_leased(which)
        again = self.now + timedelta(seconds=wait)
        verdicts: dict[DeliveryState, Verdict] = {
            PENDING: Retry(failure=FAILED, at=again, counted=counted),
            DELIVERED: Delivered(receipt="200"),
            DEAD: Dead(failure=FAILED),
        }
        stands = row.state is PENDING and row.attempt == delivery.attempt
        assert self._runner.run(self.store.settle([(delivery, verdicts[outcome])], now=self.now)) == [stands]
        if stands:
            self._settled(row, outcome, again, tries=delivery.tries - (not counted))

    @precondition(lambda self: self.leased)
    @rule(which=st.sets(st.integers(0, 7), min_size=2))
    def settle_many(self, which: set[int]) -> None:
        """What a lane does that delivers well; some of it may come too late."""
        chosen = {delivery.id: (delivery, row) for delivery, row in map(self._lately_leased, sorted(which))}
        results = [(delivery, Delivered(receipt=f"receipt {delivery.id}")) for delivery, _ in chosen.values()]
        stand = [row.state is PENDING and row.attempt == delivery.attempt for delivery, row in chosen.values()]
        assert self._runner.run(self.store.settle(results, now=self.now)) == stand
        for (delivery, row), stands in zip(chosen.values(), stand, strict=True):
            if stands:
                self._settled(row, DELIVERED, self.now, tries=delivery.tries)

    @rule()
    def restart(self) -> None:
        self._runner.run(self._store_stack.aclose())
        self._open()

    @invariant()
    def store_is_what_the_model_is(self) -> None:
        records = self._runner.run(self.store.deliveries(limit=10_000))
        assert [
            Row(record.event_id, record.sink, row.key, record.due_at, record.state, record.attempt, record.tries)
            for record, row in zip(reversed(records), self.rows, strict=True)
        ] == self.rows

    @invariant()
    def nothing_is_lost_or_made_up(self) -> None:
        totals = self._runner.run(self.store.totals())
        states = Counter(row.state for row in self.rows)
        assert totals == {str(state): count for state, count in (self.events | states).items()}
        backlog = self._runner.run(self.store.backlog())
        assert {sink: waiting.pending for sink, waiting in backlog.items()} == Counter(
            row.sink for row in self.rows if row.state is PENDING
        )

    @invariant()
    def one_of_a_meeting_is_due_and_it_is_the_first(self) -> None:
        records = self._runner.run(self.store.deliveries(state=PENDING, limit=10_000))
        due = {(record.event_id, record.sink) for record in records if record.due_at is not None}
        for sink in SINKS:
            for key in ("a", "b"):
                waiting = [(row.event_id, sink) for row in self._waiting(sink, key)]
                assert [each for each in waiting if each in due] == waiting[:1]

    @property
    def store(self) -> Store:
        return self._store

    def _open(self) -> None:
        self._store_stack = AsyncExitStack()
        self._store: Store = self._runner.run(self._store_stack.enter_async_context(STORES[self.kind](self._folder)))

    def _accept(self, key: str | None, sinks: list[str], quarantine: Quarantine | None) -> None:
        given = admission(*sinks, order_key=key, quarantine=quarantine, received_at=self.now)
        acceptance = self._runner.run(self.store.accept(given))
        assert (acceptance.event_id, acceptance.duplicate) == (given.event.id, None)
        self.admitted.append(given)
        unsent = EventState.UNROUTED if quarantine is None else EventState.QUARANTINED
        self.events[EventState.ROUTED if sinks else unsent] += 1
        for sink in sinks:
            waits = key is not None and bool(self._waiting(sink, key))
            self.rows.append(Row(given.event.id, sink, key, None if waits else self.now, accepted=self.now))

    def _lately_leased(self, which: int) -> tuple[Delivery, Row]:
        return self.leased[-1 - which % len(self.leased)]

    def _waiting(self, sink: str, key: str) -> list[Row]:
        return [row for row in self.rows if (row.sink, row.key, row.state) == (sink, key, PENDING)]

    def _settled(self, row: Row, outcome: DeliveryState, again: datetime, *, tries: int) -> None:
        row.state = outcome
        row.due = again if outcome is PENDING else None
        row.tries = tries if outcome is PENDING else row.tries
        if outcome is not PENDING and row.key is not None:
            for following in self._waiting(row.sink, row.key)[:1]:
                following.due = following.due or following.accepted


class SqliteMachine(StoreMachine):
    kind = "sqlite"


class PostgresMachine(StoreMachine):
    kind = "postgres"


def _settings(examples: int) -> settings:
    return settings(
        max_examples=effort(examples),
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes longer than a test may
    )


TestSqlite = SqliteMachine.TestCase
TestSqlite.settings = _settings(30)
TestPostgres = pytest.mark.skipif("postgres" not in STORES, reason="no server")(PostgresMachine.TestCase)
TestPostgres.settings = _settings(10)  # each step costs several round trips
