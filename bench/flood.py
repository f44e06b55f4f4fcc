"""`make bench-flood`: what thousands of forged webhooks a second cost the genuine ones.

Another process posts forgeries as fast as it gets answers, over kept connections; beside it genuine webhooks come at a
steady rate. Their 99th percentile should stay under 500 ms, all of them answered 200, and the key be fetched once.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import re
import sys
import tempfile
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import urlsplit

from bench.contenders import Place, Server, relay
from bench.openloop import Answers, open_loop, percentile
from bench.pool import pool
from bench.processes import Cores
from bench.run import BUILD
from tests.fakes.http import Answer, FakeHttp
from tests.fakes.keys import PATH, SHAPES

TARGET_MS = 500.0
_BEFORE = 2.0
"""Seconds of flood before anything is measured."""
_KEY_TIME = 20.0
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


def _forgery(place: Place, url: str) -> bytes:
    """A webhook of the pool under the signature of another one."""
    one, other = place.pool.records()[:2]
    address, signature = urlsplit(url), re.compile(rb"(?<=dyte-signature: )[^\r]+")
    stolen = signature.findall(other)[0]
    start = f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\ndyte-uuid: 00000000".encode()
    return start + signature.sub(lambda _found: stolen, one, count=1)


def _measure(place: Place, key_url: str, *, seconds: float, per_second: float) -> tuple[Answers, Answers, float]:
    """Answers without and with the flood, and forgeries a second."""
    start = relay({}, sources={"dyte": {"public_key_url": key_url, "replay_window": "1ms"}})
    with start(place) as server:
        _wait_for_key(server)
        quiet = open_loop(server.url, place.pool, rate=per_second, seconds=seconds)
        context = multiprocessing.get_context("spawn")
        ours, its = context.Pipe()
        process = context.Process(target=_forge, args=(its, server.url, _forgery(place, server.url)), daemon=True)
        process.start()
        try:
            sleep(_BEFORE)
            flooded = open_loop(server.url, place.pool, rate=per_second, seconds=seconds)
            ours.send("enough")
            forged: int = ours.recv()
        finally:
            process.kill()
            process.join()
    return quiet, flooded, forged / (seconds + _BEFORE)


def _wait_for_key(server: Server) -> None:
    deadline = monotonic() + _KEY_TIME
    while not server.metrics()['relay_key_fetch_total{result="ok",source="dyte"}']:
        if monotonic() > deadline:
            raise TimeoutError(f"the relay does not fetch its key:\n{server.process.told()}")
        sleep(0.05)


async def _flooded(place: Place, *, seconds: float, per_second: float) -> tuple[Answers, Answers, float, int]:
    """The same, and how often the key was fetched."""
    document = SHAPES["realtimekit"](place.pool.public_key)
    answer = Answer(200, body=document, headers={"content-type": "application/json"})
    async with FakeHttp(default=answer) as server:
        measured = await asyncio.to_thread(_measure, place, server.url + PATH, seconds=seconds, per_second=per_second)
        return *measured, len(server.requests)


def _summary(answers: Answers) -> str:
    times = "  ".join(f"p{100 * share:g} {percentile(answers.seconds, share):.1f} ms" for share in (0.5, 0.99, 0.999))
    statuses = dict(Counter(answers.statuses))
    return f"{len(answers.seconds)} answers {statuses}  {times}  max {percentile(answers.seconds, 1.0):.1f} ms"


def main() -> int:
    """Measure, and say whether the target is met."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=50.0, help="genuine webhooks a second")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    cores = Cores.choose()
    cores.watch()
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="flood-") as folder:
        place = Place(Path(folder), pool(BUILD), cores)
        quiet, flooded, forged, fetched = asyncio.run(_flooded(place, seconds=given.seconds, per_second=given.rate))
    sys.stdout.write(f"without a flood  {_summary(quiet)}\nwith the flood   {_summary(flooded)}\n")
    sys.stdout.write(f"about {forged:.0f} forgeries a second answered 401; the key was fetched {fetched} times\n")
    well = percentile(flooded.seconds, 0.99) <= TARGET_MS and flooded.no_good == 0
    return 0 if well else 1


if __name__ == "__main__":
    raise SystemExit(main())
