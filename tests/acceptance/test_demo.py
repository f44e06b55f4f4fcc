"""`relay demo --keep`: what it says to try works, and it ends when it is told to."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.process import END, environment, relay
from tests.fakes.http import FakeHttp


@asynccontextmanager
async def kept_demo(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The demo, once it says that it stays, and what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", "demo", "--meetings", "1", "--keep",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment(TMPDIR=str(folder)),
    )  # fmt: skip
    assert process.stdout is not None
    try:
        said: list[str] = []
        async with asyncio.timeout(END):
            while not said or said[-1] != "Ctrl-C ends it.":
                line = await process.stdout.readline()
                assert line, said
                said.append(line.decode().rstrip("\n"))
        yield process, said
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_stays_until_it_is_told_to_end(tmp_path: Path, number: signal.Signals) -> None:
    async with kept_demo(tmp_path) as (process, said):
        assert _left(tmp_path) != []
        commands = [line.strip() for line in said if line.startswith("  relay ")]
        assert len(commands) == 4
        for command in commands if number is signal.SIGINT else ():
            ended = await relay(*shlex.split(command)[1:])
            assert ended.code == 0, (command, ended)
            assert ended.out
        process.send_signal(number)
        async with asyncio.timeout(END):
            out, _ = await process.communicate()
        assert process.returncode == 0
        assert out == b""
    assert _left(tmp_path) == []


async def test_a_port_in_use_is_said_in_words() -> None:
    async with FakeHttp() as other:
        ended = await relay("demo", "--gateway-port", str(other.port))
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith(f"gateway.listen: cannot listen on 127.0.0.1:{other.port}: ")
    assert "Traceback" not in ended.err


async def test_a_terminal_that_knows_ascii_only() -> None:
    ended = await relay("demo", "--meetings", "1", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert ended.code == 0, ended.err
    assert ended.out.isascii()


def _left(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]
