"""`relay demo --receivers`: a relay of one's own finds them by what they write down, and they tell what arrives."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
from aiokafka import AIOKafkaProducer

from relay.demo.receiving import Told, receiving, write_variables
from relay.publickey import PublicKey
from tests.acceptance.process import END, environment
from tests.running import until


def read(file: Path) -> dict[str, str]:
    """What a shell would know after `. file`."""
    words = shlex.split(file.read_text("utf-8"))
    assert words[::2] == ["export"] * (len(words) // 2)
    return dict(word.split("=", 1) for word in words[1::2])


async def test_what_arrives_is_told(tmp_path: Path) -> None:
    arrived: list[Any] = []
    told = Told(
        kafka=lambda message: arrived.append((message.key, message.headers["ce_type"])),
        http=lambda request: arrived.append(request.genuine),
        slack=lambda message: arrived.append(message["text"]),
    )
    async with receiving(tmp_path / "simulator") as receivers, aiohttp.ClientSession() as session:
        write_variables(tmp_path / "receivers.env", receivers.variables)
        variables = read(tmp_path / "receivers.env")
        telling = asyncio.create_task(receivers.tell(told))
        async with AIOKafkaProducer(bootstrap_servers=variables["KAFKA_BROKER"]) as producer:
            await producer.send_and_wait("dyte.events", b"{}", key=b"m-1", headers=[("ce_type", b"meeting.started")])
        async with session.post(variables["SLACK_WEBHOOK_URL"], json={"text": "Ready"}) as response:
            assert await response.text() == "ok"
        async with session.post(variables["CRM_URL"], data=b"{}") as response:
            assert response.status == 401, "it verifies signatures"

        async def all_told() -> bool:
            return len(arrived) == 3

        try:
            await until(all_told, "what was sent")
        finally:
            telling.cancel()
            await asyncio.wait({telling})
    assert sorted(map(str, arrived)) == ["('m-1', 'meeting.started')", "False", "Ready"]
    assert PublicKey.read(variables["RELAY_DYTE_PUBLIC_KEY"]).pem
    assert (tmp_path / "receivers.env").stat().st_mode & 0o777 == 0o600


async def test_they_run_until_they_are_told_to_end(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "demo", "--receivers",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment(), cwd=tmp_path,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said = b""
        async with asyncio.timeout(END):
            while not said.endswith(b"Ctrl-C ends it.\n"):
                line = await process.stdout.readline()
                assert line, said
                said += line
            broker = read(tmp_path / "data" / "receivers.env")["KAFKA_BROKER"]
            assert broker.encode() in said
            process.send_signal(signal.SIGINT)
            rest, _ = await process.communicate()
        assert (process.returncode, rest) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
