"""A store that fails under a relay that serves: the relay ends with a failure, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import aiohttp
import apsw
import pytest

from relay.commands.output import FAILED
from tests.acceptance.process import Serving, serving, serving_file
from tests.fakes.faulty import DEADLY, FEW
from tests.running import Sender, payload, samples, sender, until

FAULTY = "tests.fakes.faulty"
SENDERS = 5


def stored(folder: Path) -> set[str]:
    """The ids of all events in the file, which is whole."""
    connection = apsw.Connection(str(folder / "relay.db"))
    try:
        assert connection.pragma("integrity_check") == "ok"
        return {row[0] for row in connection.execute("SELECT id FROM event")}
    finally:
        connection.close()


class Senders:
    """Post one event after the other until the relay is gone; remember what was acknowledged."""

    def __init__(self) -> None:
        self.acknowledged: set[str] = set()
        self.statuses: Counter[int] = Counter()

    async def work(self, posting: Sender, name: str) -> None:
        for number in range(500):
            try:
                answer = await posting.post({"event": "a.thing", "sender": name, "number": number})
            except (aiohttp.ClientError, TimeoutError):
                return
            self.statuses[answer.status] += 1
            if answer.status == 200:
                self.acknowledged.add(answer.json["id"])
        raise AssertionError("it never failed")


async def posted_until_gone(process: Serving) -> Senders:
    senders = Senders()
    async with sender(f"http://{process.gateway}") as posting, asyncio.TaskGroup() as group:
        for number in range(SENDERS):
            group.create_task(senders.work(posting, str(number)))
        group.create_task(process.read_on())
    return senders


async def takes_events(folder: Path) -> None:
    """A healthy relay on the same store."""
    async with serving_file(folder / "relay.yaml") as process, sender(f"http://{process.gateway}") as posting:
        assert (await posting.post({"event": "a.thing", "at": "last"})).status == 200
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0


@pytest.mark.parametrize("fault", ["one-sync", "all-syncs"])
async def test_a_sync_that_fails_ends_the_relay_and_the_next_one_has_everything(tmp_path: Path, fault: str) -> None:
    async with serving(tmp_path, program=(FAULTY, fault)) as process:
        senders = await posted_until_gone(process)
        assert await process.ended() == FAILED
    assert "io" in {line["kind"] for line in process.lines if line["moment"] == "store.failed"}
    assert "relay.failed" in {line["moment"] for line in process.lines}
    assert senders.acknowledged, "some syncs succeeded"
    assert set(senders.statuses) <= {200, 503}
    assert senders.acknowledged <= stored(tmp_path)
    await takes_events(tmp_path)
    assert senders.acknowledged <= stored(tmp_path)


async def test_a_writer_that_dies_ends_the_relay_and_the_next_one_has_everything(tmp_path: Path) -> None:
    async with serving(tmp_path, program=(FAULTY, "deadly-event")) as process:
        async with sender(f"http://{process.gateway}") as posting:
            given = (await posting.post()).json["id"]
            answer = await posting.post({"event": DEADLY.decode()})
            assert (answer.status, answer.json["status"]) == (503, "store")
        assert await process.ended() == FAILED
    [failed] = [line for line in process.lines if line["moment"] == "relay.failed"]
    assert "the writer thread died: Killed" in failed["detail"]
    assert stored(tmp_path) == {given}
    await takes_events(tmp_path)


async def test_more_connections_than_descriptors_neither_spin_nor_end_it(tmp_path: Path) -> None:
    sinks = {"audit": {"type": "file", "path": str(tmp_path / "events.jsonl"), "retry": {"base": "1ms", "cap": "10ms"}}}
    async with (
        serving(tmp_path, program=(FAULTY, "few-descriptors"), sinks=sinks) as process,
        sender(f"http://{process.gateway}") as posting,
        sender(f"http://{process.admin}") as private,
    ):
        assert (await posting.post()).status == 200  # both connections are there, and stay
        await private.request("GET", "/metrics")
        crowd = [await asyncio.open_connection(process.gateway.host, process.gateway.port) for _ in range(2 * FEW)]
        await until(lambda: exhausted(process), "relay without descriptors")
        used = processor_seconds(process)
        answers = [await posting.post(payload(count=number)) for number in range(20)]
        assert {answer.status for answer in answers} == {200}, "who is connected is served"
        seen = samples((await private.request("GET", "/metrics")).body)
        assert seen["relay_open_connections"] > FEW / 2
        assert processor_seconds(process) - used < 5
        for _, writer in crowd:
            writer.close()
        async with sender(f"http://{process.gateway}") as another:
            await until(lambda: is_served(another), "answer to a new connection")
        await until(lambda: has_lines(tmp_path / "events.jsonl", 22), "delivered events")
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0


async def exhausted(process: Serving) -> bool:
    return len(await asyncio.to_thread(os.listdir, f"/proc/{process.process.pid}/fd")) >= FEW - 1


async def is_served(posting: Sender) -> bool:
    try:
        return (await posting.post({"event": "a.new.connection"})).status == 200
    except aiohttp.ClientError:
        return False


async def has_lines(file: Path, count: int) -> bool:
    return await asyncio.to_thread(lambda: file.exists() and len(file.read_bytes().splitlines()) >= count)


def processor_seconds(process: Serving) -> float:
    """What it has used of a processor so far."""
    fields = Path(f"/proc/{process.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
