"""Relays that break a promise: what the suites must see, or they prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from relay.model import Acceptance, Admission, Delivered, Delivery
from relay.ports import Store
from relay.routing import RouteTable
from relay.stores.migrations import Migration
from relay.stores.postgres import PostgresStore, schema
from relay.stores.sqlite import SqliteStore, intake, outbox
from tests.crash.patching import rewrite, wrap

_HEAD_START = 0.25
"""Seconds by which an answer is ahead of its commit: enough for the sender to have it, whatever happens then."""
_FENCE = " AND d.attempt = given.attempt AND d.state = 'pending'"
_NO_FENCE = " AND (d.state = 'pending' OR given.state <> 'pending')"  # what is settled is at least not sent again


def _answer_before_commit() -> None:
    kept: set[asyncio.Task[Acceptance]] = set()

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        async def write(store: Store, admission: Admission) -> Acceptance:
            await asyncio.sleep(_HEAD_START)
            written: Acceptance = await original(store, admission)
            return written

        async def accept(store: Store, admission: Admission) -> Acceptance:
            kept.add(asyncio.create_task(write(store, admission)))
            return Acceptance(event_id=admission.event.id)

        return accept

    for store in (SqliteStore, PostgresStore):
        wrap(store, "accept", wrapper)


def _no_look_at_marks() -> None:
    """What was seen is written, and never looked at."""
    wrap(intake, "_new", lambda _: lambda *_: True)


def _no_fence() -> None:
    for name in ("_RETRY", "_FINISH"):
        rewrite(outbox, name, "AND attempt = ? AND state = 'pending'", "AND ? > 0")

    def wrapper(original: Callable[[str], list[Migration]]) -> Callable[[str], list[Migration]]:
        def migrations(kind: str) -> list[Migration]:
            steps = original(kind)
            assert sum(_FENCE in step.sql for step in steps) == 1, "the fence looks otherwise"
            return [Migration(number=step.number, sql=step.sql.replace(_FENCE, _NO_FENCE)) for step in steps]

        return migrations

    wrap(schema, "migrations", wrapper)


def _done_before_sent() -> None:
    """At most once: what is claimed counts as delivered."""

    def wrapper(original: Callable[..., Any]) -> Callable[..., Any]:
        async def claim(store: SqliteStore, sink: str, *, now: datetime, **more: Any) -> Sequence[Delivery]:
            claimed: Sequence[Delivery] = await original(store, sink, now=now, **more)
            await store.settle([(delivery, Delivered(receipt="")) for delivery in claimed], now=now)
            return claimed

        return claim

    wrap(SqliteStore, "claim", wrapper)


def _no_order() -> None:
    wrap(RouteTable, "_order_key", lambda _: lambda *_: None)


BROKEN: dict[str, Callable[[], None]] = {
    "answer_before_commit": _answer_before_commit,
    "no_look_at_marks": _no_look_at_marks,
    "no_fence": _no_fence,
    "done_before_sent": _done_before_sent,
    "no_order": _no_order,
}
"""By what is broken."""
