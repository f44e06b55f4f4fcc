"""The relay as a process of its own, as its users start it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from relay.config import Address, parse_address
from tests.fakes.keys import key_pair
from tests.running import write_config

RELAY = ("relay",)
"""The module that is run."""
END = 60.0
"""Seconds that a process may take to begin, or to end."""


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """Of a process that knows nothing of terminals and nobody's variables but the path and the coverage."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "COVERAGE_PROCESS_START") if name in os.environ
    }
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONUTF8": "1", **more}


async def relay(*arguments: str, cwd: Path | None = None, **env: str) -> Ended:
    """Run `python -m relay …` to its end."""
    process = await _spawn(arguments, cwd, env)
    try:
        async with asyncio.timeout(END):
            out, err = await process.communicate()
    finally:
        await _end(process)
    return Ended(process.returncode or 0, out.decode(), err.decode())


class Serving:
    """A `relay serve` that runs, and its log."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.gateway: Address
        self.admin: Address

    async def logged(self, moment: str) -> dict[str, Any]:
        """Read the log up to this moment; fails where the log ends before."""
        assert self.process.stderr is not None
        async with asyncio.timeout(END):
            while line := await self.process.stderr.readline():
                self.lines.append(orjson.loads(line))
                if self.lines[-1]["moment"] == moment:
                    return self.lines[-1]
        raise AssertionError(f"no {moment} in the log: {self.lines}")

    async def read_on(self) -> None:
        """Read the log to its end."""
        assert self.process.stderr is not None
        async with asyncio.timeout(END):
            rest = await self.process.stderr.read()
        self.lines += [orjson.loads(line) for line in rest.splitlines()]

    async def ended(self) -> int:
        """The exit code; the rest of the log is in `lines` then."""
        await self.read_on()
        async with asyncio.timeout(END):
            return await self.process.wait()


@asynccontextmanager
async def serving(folder: Path, *, program: Sequence[str] = RELAY, **parts: Any) -> AsyncIterator[Serving]:
    """`relay serve` with the configuration of `tests.running.config`; killed at the end if it still runs."""
    file = await asyncio.to_thread(lambda: write_config(folder, **parts))
    async with serving_file(file, program=program) as process:
        yield process


@asynccontextmanager
async def serving_file(file: Path, *options: str, program: Sequence[str] = RELAY, **env: str) -> AsyncIterator[Serving]:
    """`relay serve -c file`, once it listens."""
    key_pair()  # made before the process is waited for
    process = await _spawn(("serve", "-c", str(file), *options), file.parent, env, program)
    try:
        found = Serving(process)
        listening = await found.logged("relay.listening")
        found.gateway, found.admin = parse_address(listening["gateway"]), parse_address(listening["admin"])
        yield found
    finally:
        await _end(process)


async def _spawn(
    arguments: tuple[str, ...], cwd: Path | None, env: Mapping[str, str], program: Sequence[str] = RELAY
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", *program, *arguments,
        cwd=cwd, env=environment(**env), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=1024 * 1024,
    )  # fmt: skip


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
