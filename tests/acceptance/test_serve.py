"""How `relay serve` ends: in order, in time, and without losing what it acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.process import END, Serving, environment, serving, serving_file
from tests.fakes.http import Answer, FakeHttp, Hang
from tests.running import payload, sender, signed, until, write_config

IN_ORDER = ["relay.stopping", "relay.stopped"]


def hanging(receiver: FakeHttp) -> dict[str, Any]:
    return {"crm": {"type": "http", "url": receiver.url, "allow_private": True, "timeout": "10s"}}


def endings(process: Serving) -> list[str]:
    return [line["moment"] for line in process.lines if line["moment"] in IN_ORDER]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(tmp_path: Path, number: signal.Signals) -> None:
    async with serving(tmp_path) as process, sender(f"http://{process.gateway}") as posting:
        assert (await posting.post()).status == 200
        await process.logged("delivery.delivered")
        process.process.send_signal(number)
        assert await process.ended() == 0
    assert endings(process) == IN_ORDER
    line = orjson.loads((tmp_path / "events.jsonl").read_bytes())
    assert line["type"] == "meeting.started"


async def test_an_answer_under_way_is_finished(tmp_path: Path) -> None:
    body = orjson.dumps(payload())
    headers = {"host": "relay", "content-length": str(len(body)), "connection": "close", **signed(body)}
    head = "POST /webhooks/dyte HTTP/1.1\r\n" + "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    async with serving(tmp_path) as process:
        reader, writer = await asyncio.open_connection(process.gateway.host, process.gateway.port)
        writer.write(head.encode() + b"expect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"  # so the relay is at work on it
        process.process.send_signal(signal.SIGTERM)
        await process.logged("relay.stopping")
        writer.write(body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert await process.ended() == 0
    assert endings(process) == IN_ORDER
    async with serving(tmp_path):  # it may have come too late for its lane, which then has it after the next start
        await until(partial(_has_lines, tmp_path / "events.jsonl"), "the event")
    assert len((tmp_path / "events.jsonl").read_bytes().splitlines()) == 1


async def test_nobody_is_taken_in_after_the_stop(tmp_path: Path) -> None:
    async with FakeHttp(default=Hang()) as receiver, serving(tmp_path, sinks=hanging(receiver)) as process:
        async with sender(f"http://{process.gateway}") as posting:
            assert (await posting.post()).status == 200
        await receiver.wait_for(1)
        process.process.send_signal(signal.SIGTERM)
        await process.logged("relay.stopping")
        await _refused(process)
        assert await process.ended() == 0


async def test_a_hanging_sink_holds_the_end_up_for_the_drain_only(tmp_path: Path) -> None:
    async with FakeHttp(default=Hang()) as receiver:
        async with serving(tmp_path, sinks=hanging(receiver)) as process:
            async with sender(f"http://{process.gateway}") as posting:
                given = (await posting.post()).json["id"]
            await receiver.wait_for(1)
            process.process.send_signal(signal.SIGTERM)
            process.process.send_signal(signal.SIGTERM)  # within a second: the same wish
            assert await process.ended() == 0
        assert endings(process) == IN_ORDER
        await _arrives_after_a_restart(tmp_path, receiver, given)


async def test_a_second_signal_ends_it_at_once_and_loses_nothing(tmp_path: Path) -> None:
    async with FakeHttp(default=Hang()) as receiver:
        async with serving(tmp_path, sinks=hanging(receiver)) as process:
            async with sender(f"http://{process.gateway}") as posting:
                given = (await posting.post()).json["id"]
            await receiver.wait_for(1)
            process.process.send_signal(signal.SIGTERM)
            await process.logged("relay.stopping")
            await asyncio.sleep(1.1)  # a signal within a second counts as the same wish
            process.process.send_signal(signal.SIGTERM)
            assert await process.ended() == 0
        assert endings(process) == ["relay.stopping"]
        await _arrives_after_a_restart(tmp_path, receiver, given)


async def test_a_hangup_does_not_end_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as process, sender(f"http://{process.gateway}") as posting:
        process.process.send_signal(signal.SIGHUP)
        assert (await posting.post()).status == 200
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_log_that_nobody_reads_delays_no_answer_and_no_end(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    file = await asyncio.to_thread(lambda: write_config(tmp_path))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "relay", "serve", "-c", str(file)), stderr=writing, env=environment(), cwd=tmp_path
    )
    os.close(writing)
    try:
        address = await asyncio.to_thread(_listening, reading)  # from here on nobody reads
        async with sender(f"http://{address}") as posting:
            for number in range(400):  # two or three lines each: several times what a pipe holds
                assert (await posting.post(orjson.dumps(payload(meeting=f"m-{number}")))).status == 200
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(END):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(reading)


def _listening(log: int) -> str:
    """The address in the log's line that says it, read byte by byte so that nothing more is read."""
    with os.fdopen(os.dup(log), "rb", buffering=0) as stream:
        while line := stream.readline():
            if orjson.loads(line)["moment"] == "relay.listening":
                return str(orjson.loads(line)["gateway"])
    raise AssertionError("it never listened")


async def _has_lines(file: Path) -> bool:
    return await asyncio.to_thread(lambda: file.exists() and file.read_bytes().endswith(b"\n"))


async def _refused(process: Serving) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(process.gateway.host, process.gateway.port)
            except ConnectionRefusedError:
                return
            writer.close()


async def _arrives_after_a_restart(folder: Path, receiver: FakeHttp, given: str) -> None:
    before = len(receiver.requests)
    await receiver.stop()
    receiver.default = Answer()
    await receiver.start()
    async with serving_file(folder / "relay.yaml") as process:
        requests = await receiver.wait_for(before + 1)
        assert requests[-1].headers["webhook-id"] == given
        process.process.send_signal(signal.SIGTERM)
        assert await process.ended() == 0


async def test_a_hangup_reads_the_configuration_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as process, sender(f"http://{process.gateway}") as posting:
        sinks = {"new": {"type": "file", "path": str(tmp_path / "new.jsonl")}}
        await asyncio.to_thread(lambda: write_config(tmp_path, sinks=sinks))
        process.process.send_signal(signal.SIGHUP)
        await process.logged("config.applied")
        assert (await posting.post()).status == 200
        await process.logged("delivery.delivered")
        await asyncio.to_thread((tmp_path / "relay.yaml").write_text, "sinks: {crm: {type: http}}")
        process.process.send_signal(signal.SIGHUP)
        refused = await process.logged("config.refused")
        assert "sinks.crm.url: is missing" in refused["detail"]
        assert (await posting.post(orjson.dumps(payload(meeting="m-2")))).status == 200
        await process.logged("delivery.delivered")
    assert len(await asyncio.to_thread((tmp_path / "new.jsonl").read_bytes)) > 0
