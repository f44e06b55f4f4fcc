"""A relay in a process of its own, the sinks that it delivers to, and webhooks at a steady rate."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from tests.acceptance.process import environment
from tests.running import Sender, payload, signed, until, write_config

START_TIME = 120.0
_SLOW = 0.2


class Receivers:
    """Three sinks behind one loopback port."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.taken: Counter[str] = Counter({"hangs": 0, "slow": 0, "takes": 0})


@asynccontextmanager
async def receiving() -> AsyncIterator[Receivers]:
    """One that never answers, one that takes its time, one that takes everything."""
    receivers = Receivers(0)

    async def receive(request: web.Request) -> web.Response:
        await request.read()
        name = request.match_info["name"]
        if name == "hangs":
            await asyncio.Event().wait()
        if name == "slow":
            await asyncio.sleep(_SLOW)
        receivers.taken[name] += 1
        return web.Response()

    application = web.Application()
    application.router.add_post("/{name}", receive)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receivers.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receivers
    finally:
        await runner.cleanup()


def configured(folder: Path, receivers: Receivers) -> Path:
    """A relay.yaml with the three sinks and everything to each of them."""
    sinks: dict[str, Any] = {
        name: {"type": "http", "url": f"{receivers.base}/{name}", "allow_private": True} for name in receivers.taken
    }
    sinks["slow"]["order"] = "meeting"
    return write_config(folder, sinks=sinks)


@dataclass(frozen=True)
class Load:
    """Signed webhooks, made beforehand: signing costs more than answering."""

    rate: int
    requests: Sequence[tuple[bytes, dict[str, str]]]

    @classmethod
    def signed(cls, *, rate: int, seconds: float) -> Load:
        """So many a second, for so long."""
        bodies = [orjson.dumps(payload(meeting=f"live-{number}")) for number in range(int(rate * seconds))]
        return cls(rate, [(body, signed(body)) for body in bodies])

    async def post(self, posting: Sender) -> tuple[Sequence[float], int]:
        """Post them at their rate; how long each answer took, sorted, and how many were not 200."""
        took: list[float] = []
        refused = 0

        async def one(body: bytes, headers: dict[str, str]) -> None:
            nonlocal refused
            started = perf_counter()
            try:
                answered = (await posting.post(body, headers=headers)).status == 200
            except (aiohttp.ClientError, TimeoutError):
                answered = False
            took.append(perf_counter() - started)
            refused += not answered

        started = perf_counter()
        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(self.requests):
                await asyncio.sleep(max(0.0, started + number / self.rate - perf_counter()))
                group.create_task(one(*request))
        return sorted(took), refused


class RelayProcess:
    """`relay serve`; its log goes to a file, because nobody has time to read it."""

    def __init__(self, process: asyncio.subprocess.Process, config: Path, started: float) -> None:
        self._process = process
        self._config = config
        self._started = started
        self.listening_after = 0.0
        self.gateway = self._admin = ""

    @classmethod
    @asynccontextmanager
    async def started(cls, config: Path) -> AsyncIterator[RelayProcess]:
        """Start it and wait until it listens; killed at the end."""
        log = config.with_name("relay.log")
        command = (sys.executable, "-m", "relay", "serve", "-c", str(config), "--log-format", "json")
        with log.open("wb") as writing:
            began = perf_counter()
            process = await asyncio.create_subprocess_exec(
                *command, stderr=writing, env=environment(), cwd=config.parent
            )
        relay = cls(process, config, began)
        try:
            await until(lambda: asyncio.to_thread(relay._listens, log), "relay that listens", timeout=START_TIME)
            yield relay
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def _listens(self, log: Path) -> bool:
        assert self._process.returncode is None, log.read_text()
        for line in log.read_bytes().splitlines():
            if b'"relay.listening"' in line and line.endswith(b"}"):
                self.listening_after = perf_counter() - self._started
                said = orjson.loads(line)
                self.gateway, self._admin = said["gateway"], said["admin"]
                return True
        return False

    async def ready(self) -> float:
        """Seconds from the start until /readyz agrees."""

        async def ready() -> bool:
            return await self._get("/readyz") == 200

        await until(ready, "relay that is ready")
        return perf_counter() - self._started

    async def scrape(self) -> float:
        """Seconds that /metrics takes."""
        started = perf_counter()
        assert await self._get("/metrics") == 200
        return perf_counter() - started

    async def sinks_list(self) -> float:
        """Seconds that `relay sinks list` takes."""
        started = perf_counter()
        command = (sys.executable, "-m", "relay", "sinks", "list", "-c", str(self._config))
        process = await asyncio.create_subprocess_exec(
            *command, env=environment(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        code = await process.wait()
        return perf_counter() - started if code == 0 else float("nan")

    def peak_mib(self) -> float:
        """The most memory that it ever had."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:"))) / 1024

    async def _get(self, path: str) -> int:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.get(f"http://{self._admin}{path}") as response,
        ):
            await response.read()
            return response.status
