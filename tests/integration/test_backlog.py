"""A start with a large backlog: nothing loads all of it, and each lane takes what it can work on (`make million`)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from relay.model import Delivery, Settled
from relay.stores import sqlite
from relay.stores.sqlite import SqliteStore, connection
from tests.fakes.http import Answer, FakeHttp, Hang
from tests.running import payload, relay_running, until
from tests.scale.seed import Seeded, seed

EVENTS = 7_000
SINKS = (Seeded("hangs"), Seeded("slow", ordered=True), Seeded("takes"))
CONCURRENCY = 8


class Counted:
    """What the lanes claim, and how many rows any statement of the store gives back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        self.leased: dict[str, int] = defaultdict(int)
        self.most_leased: dict[str, int] = defaultdict(int)
        self._claim, self._settle = SqliteStore.claim, SqliteStore.settle
        # Not the bound methods themselves: those would not be given the store.
        monkeypatch.setattr(SqliteStore, "claim", lambda store, *given, **more: self.claim(store, *given, **more))  # noqa: PLW0108
        monkeypatch.setattr(SqliteStore, "settle", lambda store, *given, **more: self.settle(store, *given, **more))  # noqa: PLW0108
        self._connect = connection.connect
        for module in (sqlite, connection):
            monkeypatch.setattr(module, "connect", self.connect)

    def connect(self, path: Path) -> apsw.Connection:
        made = self._connect(path)
        made.set_row_trace(self.row)
        return made

    def row(self, _: object, row: Any) -> Any:
        self.rows += 1
        return row

    async def claim(self, store: SqliteStore, sink: str, **given: Any) -> Sequence[Delivery]:
        claimed = await self._claim(store, sink, **given)
        self.leased[sink] += len(claimed)
        self.most_leased[sink] = max(self.most_leased[sink], self.leased[sink])
        return claimed

    async def settle(self, store: SqliteStore, results: Sequence[Settled], **given: Any) -> Sequence[bool]:
        recorded = await self._settle(store, results, **given)
        for delivery, _ in results:
            self.leased[delivery.sink] -= 1
        return recorded


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeHttp]:
    monkeypatch.setattr("relay.app.DRAIN", timedelta(seconds=0.1))
    async with FakeHttp(default=Answer()) as taking:
        yield taking


async def test_a_large_backlog_is_worked_off_piece_by_piece(
    tmp_path: Path, receiver: FakeHttp, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed(tmp_path / "relay.db", events=EVENTS, sinks=SINKS, oldest=datetime.now(UTC) - timedelta(hours=1))
    counted = Counted(monkeypatch)
    async with FakeHttp(default=Hang()) as hanging:
        urls = {"hangs": hanging.url, "slow": receiver.url, "takes": receiver.url}
        common = {"type": "http", "allow_private": True, "concurrency": CONCURRENCY}
        sinks = {name: {**common, "url": url} for name, url in urls.items()}
        async with relay_running(tmp_path, sinks=sinks) as relay:
            assert counted.rows < 100, "the start looks at no delivery"
            assert (await relay.admin("/readyz")).status == 200
            await until(lambda: _all(relay.app.store.backlog), "backlog that is counted")
            answers = await asyncio.gather(*(relay.post(payload(count=number)) for number in range(20)))
            await receiver.wait_for(200)
            delivered = len(receiver.requests)
            await relay.metrics()
        assert {answer.status for answer in answers} == {200}
    assert counted.most_leased["hangs"] == CONCURRENCY
    assert max(counted.most_leased.values()) <= CONCURRENCY
    assert counted.rows < 1000 + 20 * delivered, "what is read follows what is delivered, not what waits"


async def _all(backlog: Any) -> bool:
    return all(waiting.pending > EVENTS / 2 for waiting in (await backlog()).values())
