"""Claiming and settling. The server does it, in one call each (`relay.claim`, `relay.settle`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from datetime import datetime, timedelta
from typing import assert_never

from asyncpg.exceptions import QueryCanceledError

from relay.model import Dead, Delivered, Delivery, DeliveryState, Reason, Retry, Settled
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.nodes import PATIENCE
from relay.stores.postgres.skipping import Look
from relay.stores.postgres.texts import stored
from relay.stores.rows import Row, claimed, quoted_text, to_micros

_CLAIM = "SELECT * FROM relay.claim($1, $2, $3, $4, $5, $6, $7, $8)"
_CLAIM_SEATED = "SELECT * FROM relay.claim_seated($1, $2, $3, $4, $5, $6, $7, $8, $9)"
_SETTLE = "SELECT * FROM relay.settle($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
_DUE_AT = 3
"""Place in a row that is settled."""
_NEXT_DUE = "SELECT relay.next_due($1)"


async def claim(
    connection: Connection,
    sink: str,
    *,
    limit: int,
    newest: int,
    now: datetime,
    lease: timedelta,
    owner: str,
    seat: str | None,
    look: Look,
) -> Sequence[Delivery]:
    """Lease what is due, oldest first but for the newest, and replays after everything else."""
    due = to_micros(now)
    since = look.begin(due)
    given = (sink, limit, newest, due, to_micros(now + lease), owner, PATIENCE, since)
    try:
        rows = await (
            connection.fetch(_CLAIM, *given) if seat is None else connection.fetch(_CLAIM_SEATED, *given, seat)
        )
    except QueryCanceledError:
        look.failed(due)
        raise
    if not rows:  # to this one nothing is given
        return []
    *_, oldest, passed = rows[0]
    taken = [claimed(tuple(row)) for row in rows if row[0] is not None]
    look.ended(since, due, oldest=oldest, passed=passed, full=len(taken) == limit)
    return taken


async def settle(connection: Connection, results: Sequence[Settled], *, now: datetime) -> tuple[Set[int], int | None]:
    """Record verdicts, each delivery once; which were recorded, by number (of the others the lease was lost), and when
    the first of those is due that have come due by it."""
    rows = sorted(_row(of, verdict) for of, verdict in results)
    row = await connection.fetchrow(_SETTLE, *zip(*rows, strict=True), to_micros(now))
    recorded, woken = row or (None, None)
    due = [each[_DUE_AT] for each in rows if each[_DUE_AT] is not None]
    if woken is not None:
        due.append(woken)
    return frozenset(recorded or ()), min(due, default=None)


async def next_due(connection: Connection, sink: str) -> int | None:
    """When the sink's next delivery comes due, in microseconds."""
    due: int | None = await connection.fetchval(_NEXT_DUE, sink)
    return due


def _row(of: Delivery, verdict: Delivered | Retry | Dead) -> Row:
    """Number, attempt, state, due time, tries, receipt, reason, detail, and whether the failure is kept: giving a lease
    back at shutdown is no attempt that anybody asks about."""
    match verdict:
        case Delivered(receipt=receipt):
            told = stored(quoted_text(receipt))
            return of.id, of.attempt, DeliveryState.DELIVERED, None, of.tries, told, "", "", False
        case Dead(failure=failure):
            state, due_at, tries = DeliveryState.DEAD, None, of.tries
        case Retry(failure=failure, at=at, counted=counted):
            # Not relative to the row: an answer may be lost, and settled again.
            state, due_at, tries = DeliveryState.PENDING, to_micros(at), of.tries - (not counted)
        case _:
            assert_never(verdict)
    detail, kept = stored(quoted_text(failure.detail)), failure.reason is not Reason.STOPPING
    return of.id, of.attempt, state, due_at, tries, "", failure.reason, detail, kept


def parts(results: Sequence[Settled]) -> Iterator[Sequence[Settled]]:
    """Cut so that no delivery stands twice in one; nearly always in one."""
    part: dict[int, Settled] = {}
    for settled in results:
        if settled[0].id in part:
            yield list(part.values())
            part = {}
        part[settled[0].id] = settled
    if part:
        yield list(part.values())
