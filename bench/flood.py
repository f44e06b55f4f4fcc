"""`make bench-flood`: what thousands of forged webhooks a second cost the genuine ones.

Another process posts forgeries as fast as it gets answers, over kept connections; beside it genuine webhooks come at a
steady rate. Their 99th percentile should stay under 500 ms, all of them answered 200, and the key be fetched once.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from bench.load import Answers, open_loop, signed
from bench.relays import relay
from relay.simulator import SimulatorKey
from tests.fakes.http import Answer, FakeHttp
from tests.fakes.keys import PATH, SHAPES

TARGET = 0.5
_CONNECTIONS = 64
_AT_ONCE = 8
"""Requests that a connection sends one behind the other before it reads their answers."""


def _forge(told: Connection, url: str, forgery: bytes) -> None:
    asyncio.run(_flood(told, url, forgery))


async def _flood(told: Connection, url: str, forgery: bytes) -> None:
    """Post until somebody says something; then tell how many answers there were."""
    answered, address = 0, urlsplit(url)

    async def post() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        while True:
            writer.write(forgery * _AT_ONCE)
            for _ in range(_AT_ONCE):
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                answered += head.startswith(b"HTTP/1.1 401 ")

    tasks = [asyncio.create_task(post()) for _ in range(_CONNECTIONS)]
    await asyncio.to_thread(told.recv)
    told.send(answered)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _forgery() -> bytes:
    [webhook] = signed(SimulatorKey.create(), 1)
    lines = ["POST /webhooks/dyte HTTP/1.1", "host: relay", f"content-length: {len(webhook.body)}"]
    lines += [f"{name}: {text}" for name, text in webhook.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + webhook.body


async def _measure(folder: Path, *, seconds: float, per_second: float) -> tuple[Answers, Answers, float, int]:
    """Answers without and with the flood, forgeries a second, and fetches of the key."""
    key, context = SimulatorKey.create(), multiprocessing.get_context("spawn")
    document = Answer(200, body=SHAPES["realtimekit"](key.public_pem), headers={"content-type": "application/json"})
    async with (
        FakeHttp(default=document) as server,
        relay(folder / "relay", source={"public_key_url": server.url + PATH}, sinks={}) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        await server.wait_for(1)
        quiet = await open_loop(session, url, signed(key, round(seconds * per_second)), per_second=per_second)
        ours, its = context.Pipe()
        process = context.Process(target=_forge, args=(its, url, _forgery()), daemon=True)
        await asyncio.to_thread(process.start)
        try:
            await asyncio.sleep(2.0)
            flooded = await open_loop(session, url, signed(key, round(seconds * per_second)), per_second=per_second)
            ours.send("enough")
            forged = await asyncio.to_thread(ours.recv)
        finally:
            process.kill()
            await asyncio.to_thread(process.join)
        return quiet, flooded, forged / (seconds + 2.0), len(server.requests)


def main() -> int:
    """Measure, and say whether the target is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=50.0, help="genuine webhooks a second")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-bench-") as folder:
        quiet, flooded, forged, fetched = asyncio.run(
            _measure(Path(folder), seconds=arguments.seconds, per_second=arguments.rate)
        )
    sys.stdout.write(f"without a flood  {quiet.summary()}\nwith the flood   {flooded.summary()}\n")
    sys.stdout.write(f"about {forged:.0f} forgeries a second answered 401; the key was fetched {fetched} times\n")
    well = flooded.percentile(0.99) <= TARGET and set(flooded.statuses) == {200}
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
