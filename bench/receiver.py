"""An HTTP service in a process of its own, which keeps when it got each event: `python -m bench.receiver PORT [HOW]`.

GET /count says how many different events it has, GET /taken when it got each. One that `hangs` takes every request and
never answers; one that `forgets` only counts requests.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeAlias
from urllib.request import urlopen

import orjson
import uvloop
from aiohttp import web

from bench.contenders import Place
from bench.processes import started
from tests.ports import free_port

_TIME = 30.0
How: TypeAlias = Literal["keeps", "hangs", "forgets"]


class Receiver:
    """One that runs, seen from outside."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self.url = f"{self._base}/events"

    def count(self) -> int:
        """How many different events it has."""
        return int(self._get("/count"))

    def taken(self) -> dict[str, float]:
        """When it first got each event, by its id, in seconds since 1970."""
        found: dict[str, float] = orjson.loads(self._get("/taken"))
        return found

    def _get(self, path: str) -> bytes:
        with urlopen(self._base + path, timeout=_TIME) as response:
            content: bytes = response.read()
            return content


@contextmanager
def receiving(place: Place, how: How = "keeps") -> Iterator[Receiver]:
    """Run one, on the core of the load."""
    port = free_port()
    command = [sys.executable, "-m", "bench.receiver", str(port), how]
    with started(command, cores=[place.cores.load], log=place.fresh("receiver") / "log") as process:
        process.wait_for_port(port)
        yield Receiver(port)


async def _serve(port: int, how: str) -> None:
    taken: dict[str, float] = {}
    forgotten = 0

    async def take(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal forgotten
        if request.method == "GET":
            return web.Response(body=orjson.dumps(taken if request.path == "/taken" else len(taken) + forgotten))
        await request.read()
        if how == "hangs":
            await asyncio.Event().wait()
        elif how == "keeps":
            taken.setdefault(request.headers["webhook-id"], time.time())
        else:
            forgotten += 1
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(take, access_log=None), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
