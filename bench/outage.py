"""`make bench-outage`: what a dead world costs the sender.

Two relays of the same configuration answer in turns, round by round: one whose sinks take everything, and one whose
sinks accept each connection and never answer. The 99th percentile of the answers of the second should be at most 1.2
times that of the first in the same round (median over the rounds), with no answer but 200.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from bench.load import Answers, open_loop, signed
from relay.simulator import SimulatorKey
from tests.crash.process import RelayProcess

TARGET = 1.2


@asynccontextmanager
async def _receiver(*, hangs: bool) -> AsyncIterator[str]:
    """An HTTP service on loopback; its address."""
    ended = asyncio.Event()

    async def take(request: web.Request) -> web.Response:
        await request.read()
        if hangs:
            await ended.wait()
        return web.Response(status=204)

    application = web.Application()
    application.router.add_post("/", take)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        ended.set()
        await runner.cleanup()


def _write_config(folder: Path, key: SimulatorKey, sinks: Mapping[str, Any]) -> Path:
    folder.mkdir()
    settings = {
        "store": f"sqlite:///{folder}/relay.db",
        "gateway": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "sources": {"dyte": {"public_key": key.public_pem}},
        "sinks": sinks,
        "routes": [{"name": "everything", "to": list(sinks)}],
    }
    file = folder / "relay.yaml"
    file.write_bytes(orjson.dumps(settings))
    return file


@asynccontextmanager
async def _relay(file: Path) -> AsyncIterator[str]:
    """A relay as a process of its own; where to post."""
    process = await RelayProcess.start(file)
    try:
        yield f"http://{await process.address()}/webhooks/dyte"
    finally:
        await process.kill()


def _sinks(url: str) -> dict[str, Any]:
    """Four of them, ordered and not."""
    orders = {"crm": "none", "billing": "none", "search": "meeting", "audit": "meeting"}
    return {
        name: {"type": "http", "url": url + "?" + name, "allow_private": True, "order": order}
        for name, order in orders.items()
    }


async def _measure(folder: Path, *, rounds: int, seconds: float, per_second: float) -> list[tuple[Answers, Answers]]:
    key = SimulatorKey.create()
    async with AsyncExitStack() as stack:
        urls = {}
        for name in ("healthy", "hung"):
            sinks = _sinks(await stack.enter_async_context(_receiver(hangs=name == "hung")))
            urls[name] = await stack.enter_async_context(_relay(_write_config(folder / name, key, sinks)))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=5.0))
        )
        found = []
        for number in range(-1, rounds):  # the first is for warming up
            both: dict[str, Answers] = {}
            for name in ("healthy", "hung") if number % 2 else ("hung", "healthy"):
                webhooks = signed(key, round(seconds * per_second))
                both[name] = await open_loop(session, urls[name], webhooks, per_second=per_second)
                sys.stdout.write(f"round {number + 1}  {name:8} {both[name].summary()}\n")
            found.append((both["healthy"], both["hung"]))
        return found[1:]


def main() -> int:
    """Measure, and say whether the target is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each relay in each round")
    parser.add_argument("--rate", type=float, default=500.0, help="webhooks a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        found = asyncio.run(
            _measure(Path(folder), rounds=arguments.rounds, seconds=arguments.seconds, per_second=arguments.rate)
        )
    ratios = [hung.percentile(0.99) / healthy.percentile(0.99) for healthy, hung in found]
    refused = sum(answers.statuses.total() - answers.statuses[200] for pair in found for answers in pair)
    ratio, span = statistics.median(ratios), f"{min(ratios):.2f} to {max(ratios):.2f}"
    sys.stdout.write(
        f"p99 with all sinks hung / p99 with healthy ones: {ratio:.2f} (median; {span}; target at most {TARGET}); "
        f"{refused} answers were no 200\n"
    )
    return 0 if ratio <= TARGET and not refused else 1


if __name__ == "__main__":
    raise SystemExit(main())
