"""A group that is written at once leaves what one after the other would leave, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.model import Acceptance, Admission, DuplicateKind, Quarantine, Target
from relay.stores.sqlite import intake
from relay.stores.sqlite.connection import open_file
from tests.build import event
from tests.effort import effort

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    opened = open_file(Path(tmp_path_factory.mktemp("intake")) / "relay.db", create=True)
    yield opened
    opened.close()


def admission(
    number: int,
    *,
    uuid: str | None = None,
    body: bytes | None = None,
    meeting: str | None = "m",
    sinks: Sequence[str] = ("a",),
    window: int = 0,
    **more: Quarantine | None,
) -> Admission:
    one = event(
        id=f"{number:036}",
        uuid=uuid,
        body=b"%d" % number if body is None else body,
        meeting=meeting,
        received_at=START + timedelta(seconds=number),
    )
    targets = [Target(route="r", sink=sink, order_key=None if sink == "free" else meeting) for sink in sinks]
    return Admission(event=one, targets=targets, replay_window=timedelta(seconds=window), config="c", **more)


admissions = st.builds(
    lambda **given: given,
    uuid=st.sampled_from(["u1", "u2", "u3", None]) | st.uuids().map(str),
    body=st.sampled_from([b"1", b"2", None, None, None]),
    meeting=st.sampled_from(["m1", "m2", None]),
    sinks=st.lists(st.sampled_from(["a", "b", "free"]), unique=True),
    window=st.sampled_from([0, 0, 3, 1000]),
    quarantine=st.sampled_from([None, None, Quarantine.ORGANIZATION]),
)


def told(connection: apsw.Connection, groups: Sequence[Sequence[Admission]]) -> tuple[list[Acceptance], list[object]]:
    """What is answered, and what is then in the store; and as if nothing had been."""
    connection.execute("BEGIN")
    try:
        answers = [answer for group in groups for answer in intake.accept_all(connection, group)]
        rows = [
            row
            for table, order in (
                ("event", "seq"),
                ("mark", "id"),
                ("mark_fresh", "key, detail, mark"),
                ("delivery", "id"),
            )
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY {order}")
        ]
    finally:
        connection.execute("ROLLBACK")
    return answers, rows


@settings(max_examples=effort(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(given=st.lists(st.lists(admissions, max_size=6), max_size=4))
def test_together_or_one_after_the_other_is_the_same(
    connection: apsw.Connection, given: Sequence[Sequence[dict[str, object]]]
) -> None:
    number = count()
    groups = [[admission(next(number), **each) for each in group] for group in given]  # type: ignore[arg-type]
    alone = [[each] for group in groups for each in group]
    assert told(connection, groups) == told(connection, alone)


@pytest.mark.parametrize("size", [2, 3, 31, 32, 33, 100])
def test_a_group_of_any_size_is_written_whole_and_in_order(connection: apsw.Connection, size: int) -> None:
    group = [admission(number, meeting=f"m{number % 5}", sinks=("a", "free")) for number in range(size)]
    answers, rows = told(connection, [group])
    assert [answer.event_id for answer in answers] == [each.event.id for each in group]
    assert len(rows) == (1 + 1 + 2 + 2) * size, "an event, a mark, its keys and two deliveries each"
    assert (answers, rows) == told(connection, [[each] for each in group])


def test_what_was_seen_is_told_in_a_group_too(connection: apsw.Connection) -> None:
    first, again = admission(0, uuid="u", body=b"0"), admission(1, uuid="u", body=b"0")
    other = admission(2, uuid="u", body=b"other")
    answers, _ = told(connection, [[first], [admission(3), again, other]])
    assert [answer.duplicate for answer in answers] == [None, None, DuplicateKind.UUID, None]
    assert [answer.conflict for answer in answers] == [False, False, False, True]


def test_a_whole_group_takes_few_statements_however_large_it_is(connection: apsw.Connection) -> None:
    asked: list[str] = []

    def trace(_cursor: object, statement: str, _bindings: object) -> bool:
        asked.append(statement)
        return True

    connection.exec_trace = trace
    try:
        told(connection, [[admission(number, window=5) for number in range(32)]])
    finally:
        connection.exec_trace = None
    assert len([statement for statement in asked if "SELECT *" not in statement]) == 6 + 2  # and BEGIN, ROLLBACK


@pytest.mark.parametrize("statement", [*intake._KNOWN, intake._BUSY])
def test_what_a_group_asks_is_found_by_an_index(connection: apsw.Connection, statement: str) -> None:
    rows = [("x", "x")] * 4
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {intake._sql(statement, rows)}", ("x",) * 8)]
    assert [step for step in plan if step.startswith("SEARCH")], plan
    assert not [step for step in plan if step.startswith("SCAN") and "VALUES" not in step], plan
