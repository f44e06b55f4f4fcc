"""How much of the relay's cost is keeping: the verifying handler of `bench.floor`, with something durable behind it.

`python -m bench.durable PORT KEY.pem FILE row`: one row in one table without an index, its body and nothing else; no
event could be kept for less. `… store`: the relay's store with its marks, ledger and deliveries, but nothing of what
comes before it: no limits, no parsing, no routes, no metrics, no log.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import uvloop
from aiohttp import web

from bench.floor import Verifying, listen
from relay.identity import new_event_id
from relay.model import Admission, Event, Target
from relay.stores.sqlite import SqliteStore
from relay.stores.sqlite.connection import connect
from relay.stores.sqlite.writer import Writer

Keep = Callable[[web.BaseRequest, bytes], Awaitable[object]]


def one_row(file: Path) -> Keep:
    """Keeps the body."""
    connection = connect(file)
    connection.execute("CREATE TABLE event (seq INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT")
    writer = Writer(connection)

    def insert(connection: apsw.Connection, bodies: Sequence[bytes]) -> Sequence[bytes]:
        connection.executemany("INSERT INTO event (body) VALUES (?)", [(body,) for body in bodies])
        return bodies

    async def keep(_: web.BaseRequest, body: bytes) -> object:
        return await writer.submit_together(insert, body)

    return keep


async def whole_store(file: Path) -> Keep:
    """Keeps it as the relay does."""
    store = await SqliteStore.open(file)
    targets = (Target(route="everything", sink="downstream"),)

    async def keep(request: web.BaseRequest, body: bytes) -> object:
        now = datetime.now(UTC)
        event = Event(
            id=new_event_id(now),
            source="dyte",
            type="meeting.started",
            body=body,
            headers={},
            received_at=now,
            webhook_id=request.headers["dyte-webhook-id"],
            uuid=request.headers["dyte-uuid"],
        )
        return await store.accept(Admission(event=event, targets=targets, replay_window=timedelta(milliseconds=1)))

    return keep


class Keeping:
    """Reads the body, verifies its signature, keeps it, and answers."""

    def __init__(self, verifying: Verifying, keep: Keep) -> None:
        self._verifying = verifying
        self._keep = keep

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        answer = await self._verifying(request)
        if answer.status == 200:
            await self._keep(request, await request.read())
        return answer


async def serve(port: int, key: Path, file: Path, what: str) -> None:
    """Serve until the process is ended."""
    keep = one_row(file) if what == "row" else await whole_store(file)
    await listen(port, Keeping(Verifying(await asyncio.to_thread(key.read_bytes)), keep))


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
