"""Whole relays that share a database: limits that hold over all of them, and clocks that differ."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from relay.clock import SystemClock
from tests.contract import postgres
from tests.fakes.http import FakeHttp
from tests.running import Relay, payload, relay_running, until
from tests.storing import choose_store

SEAT = 'relay_sink_seat{sink="crm"}'
OPEN = 'relay_sink_state{sink="crm",state="open"}'


@asynccontextmanager
async def node(
    folder: Path, name: str, *, url: str, ahead: timedelta = timedelta(0), **sink: Any
) -> AsyncIterator[Relay]:
    """A relay with a folder and a clock of its own on the database of all."""
    own = folder / name
    own.mkdir()
    choose_store(own, await postgres.database_of(folder))
    clock = SystemClock(wall=lambda: datetime.now(UTC) + ahead)
    async with relay_running(
        own, clock=clock, sinks={"crm": {"type": "http", "url": url, "allow_private": True, **sink}}
    ) as relay:
        yield relay


async def checks(relay: Relay) -> dict[str, str]:
    answer: dict[str, Any] = orjson.loads((await relay.admin("/readyz")).body)
    return dict(answer["checks"])


async def test_one_keeps_the_limit_and_another_takes_over_when_it_stops(tmp_path: Path) -> None:
    async with FakeHttp() as crm, AsyncExitStack() as stack:
        first = AsyncExitStack()
        one = await first.enter_async_context(node(tmp_path, "one", url=crm.url, rate="2/s"))
        two = await stack.enter_async_context(node(tmp_path, "two", url=crm.url, rate="2/s"))
        for number in range(6):
            assert (await (one, two)[number % 2].post(payload(meeting=f"m-{number}"))).status == 200
        await one.delivered("crm", 3)
        metrics, others = await one.metrics(), await two.metrics()
        assert [metrics[SEAT], metrics[OPEN], others[SEAT], others[OPEN]] == [1, 1, 0, 0]
        assert (await checks(two))["sink crm"].startswith("no seat: another node has it")
        assert [metrics['relay_delivered_total{sink="crm"}'] >= 2, others['relay_delivered_total{sink="crm"}']] == [
            True,
            0,
        ]
        await first.aclose()
        await two.delivered("crm", 6)
        metrics = await two.metrics()
        assert [metrics[SEAT], metrics[OPEN]] == [1, 1]
        assert (await checks(two))["sink crm"] == "ok"
    assert len(crm.requests) == 6, "each once"


async def test_a_node_whose_clock_is_off_works_as_all_others_and_says_so(tmp_path: Path) -> None:
    async with FakeHttp() as crm, AsyncExitStack() as stack:
        ahead = await stack.enter_async_context(node(tmp_path, "ahead", ahead=timedelta(minutes=5), url=crm.url))
        behind = await stack.enter_async_context(node(tmp_path, "behind", ahead=-timedelta(minutes=5), url=crm.url))
        for relay in (ahead, behind):
            for number in range(10):
                assert (await relay.post(payload(meeting=f"{relay.folder.name}-{number}"))).status == 200
        await until(lambda: _has(crm, 20), "20 deliveries")

        async def told() -> bool:  # by an answer that was slow it is not known to the second
            return (await checks(ahead))["clock"].startswith("300.")

        await until(told, "clock that is five minutes ahead")
        metrics = await ahead.metrics()
        assert 299 < metrics["relay_clock_offset_seconds"] < 301
        assert metrics["relay_clock_jumps_total"] == 0
        assert "behind" in (await checks(behind))["clock"]
        assert (await ahead.admin("/readyz")).status == 200


async def _has(crm: FakeHttp, count: int) -> bool:
    return len(crm.requests) >= count
