"""`relay serve --workers`: several processes, which look like one relay from outside."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.process import Serving, serving_file
from tests.acceptance.test_serve import IN_ORDER, endings
from tests.fakes.http import Answer, FakeHttp, Hang
from tests.running import Samples, Sender, payload, samples, sender, until, write_config
from tests.storing import over_each_store

EVENTS = 40
"""So many connections that the system gives both workers some."""
CONCURRENCY = 8
ACCEPTED = 'relay_requests_total{outcome="accepted",source="dyte"}'


class Crew:
    """A relay of two workers, and what it says of itself."""

    def __init__(self, process: Serving, posting: Sender) -> None:
        self.process = process
        self._posting = posting
        self._posted = 0

    @property
    def pids(self) -> Mapping[int, int]:
        """The newest of each worker, as far as the log is read."""
        return {line["worker"]: line["pid"] for line in self.process.lines if line["moment"] == "worker.begun"}

    @property
    def accepting(self) -> set[int]:
        return {line["worker"] for line in self.process.lines if line["moment"] == "event.accepted"}

    async def post(self) -> None:
        """All at the same time, each over a connection of its own."""
        answers = await asyncio.gather(*(self._post(number) for number in range(EVENTS)))
        assert answers == [200] * EVENTS

    async def _post(self, number: int) -> int:
        self._posted += 1
        body = payload(meeting=f"m-{self._posted}")
        return (await self._posting.post(body)).status

    async def metrics(self) -> Samples:
        return samples(await self._asked("/metrics"))

    async def readiness(self) -> Any:
        return orjson.loads(await self._asked("/readyz"))

    async def _asked(self, path: str) -> bytes:
        async with self._posting.session.get(f"http://{self.process.admin}{path}") as response:
            return await response.read()

    async def reload(self, moment: str) -> None:
        """Have the configuration read; returns when the supervisor has said this of it."""
        self.process.process.send_signal(signal.SIGHUP)
        while "worker" in await self.process.logged(moment):
            pass


def lines(file: Path) -> int:
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def parts(folder: Path, receiver: FakeHttp, *more: str) -> dict[str, Any]:
    crm = {"type": "http", "url": receiver.url, "allow_private": True, "timeout": "30s", "concurrency": CONCURRENCY}
    files = {name: {"type": "file", "path": str(folder / name)} for name in ("audit", *more)}
    return {"sinks": {"crm": crm, **files}}


@over_each_store
async def test_two_workers_are_one_relay(tmp_path: Path) -> None:
    async with FakeHttp(default=Hang()) as receiver:
        file = await asyncio.to_thread(lambda: write_config(tmp_path, **parts(tmp_path, receiver)))
        async with serving_file(file, "--no-watch", "--workers", "2") as process, sender("") as posting:
            posting.base = f"http://{process.gateway}"
            crew = Crew(process, posting)
            await _both_work(crew, receiver, tmp_path / "audit")
            await _refuses_for_all(crew, file)
            await _goes_on_without(crew, receiver)
            await asyncio.to_thread(lambda: write_config(tmp_path, **parts(tmp_path, receiver, "new")))
            await crew.reload("config.applied")
            await crew.post()
            await _has(tmp_path / "new", EVENTS)
            last = dict(crew.pids)
            process.process.send_signal(signal.SIGTERM)
            assert await process.ended() == 0
            assert endings(process) == IN_ORDER
            assert not [line for line in process.lines if line["moment"] == "worker.killed"]
    for pid in last.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def _both_work(crew: Crew, receiver: FakeHttp, audit: Path) -> None:
    await crew.post()
    await receiver.wait_for(CONCURRENCY)  # of the worker that has the lane, and not once more of the other
    await _has(audit, EVENTS)

    async def settled() -> bool:  # a line is there before its delivery is
        return (await crew.metrics())['relay_delivered_total{sink="audit"}'] == EVENTS

    await until(settled, "count of what was delivered")
    await _count_is_fresh(crew)
    metrics = await crew.metrics()
    assert (metrics[ACCEPTED], metrics["relay_workers"]) == (EVENTS, 2)
    assert metrics['relay_sink_state{sink="crm",state="open"}'] == 1
    state = await crew.readiness()
    assert state["ready"]
    assert {name: state["checks"][name] for name in ("worker 1", "worker 2", "sink crm", "sink audit", "store")} == {
        "worker 1": "ok", "worker 2": "ok", "sink crm": "ok", "sink audit": "ok", "store": "ok"
    }  # fmt: skip
    assert len(receiver.requests) == CONCURRENCY


async def _count_is_fresh(crew: Crew) -> None:
    """What waits is counted every two seconds at most."""

    async def fresh() -> bool:
        metrics = await crew.metrics()
        return (metrics['relay_backlog{sink="crm"}'], metrics['relay_backlog{sink="audit"}']) == (EVENTS, 0)

    await until(fresh, "count of what waits")


async def _refuses_for_all(crew: Crew, file: Path) -> None:
    """One that begins now begins with what is in force, and not with the file."""
    await asyncio.to_thread(file.write_text, "sinks: {crm: {type: http}}")
    await crew.reload("config.refused")
    assert "was refused" in (await crew.readiness())["checks"]["config"]
    assert crew.accepting == {1, 2}


async def _goes_on_without(crew: Crew, receiver: FakeHttp) -> None:
    """The one with the hanging sink is killed: another takes its place, and what was begun goes out again."""
    receiver.default = Answer()
    os.kill(crew.pids[1], signal.SIGKILL)
    await receiver.wait_for(CONCURRENCY + EVENTS)

    async def settled() -> bool:
        metrics = await crew.metrics()
        return metrics['relay_delivered_total{sink="crm"}'] == EVENTS and metrics["relay_workers"] == 2

    await until(settled, "whole crew")
    metrics = await crew.metrics()
    assert (metrics[ACCEPTED], metrics["relay_worker_restarts_total"]) == (EVENTS, 1)
    assert metrics["relay_recovered_total"] == CONCURRENCY
    assert (await crew.readiness())["ready"]
    await crew.process.logged("worker.died")
    await crew.process.logged("worker.begun")


async def _has(file: Path, count: int) -> None:
    async def has() -> bool:
        return await asyncio.to_thread(lines, file) == count

    await until(has, f"{count} lines in {file.name}")
