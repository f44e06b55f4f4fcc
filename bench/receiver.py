"""An HTTP service in a process of its own, so that its work is not taken for the relay's or the sender's."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection

from aiohttp import web

_START = 20.0


@asynccontextmanager
async def receiver(*, hangs: bool = False) -> AsyncIterator[str]:
    """Its address on loopback. One that hangs takes every request and never answers."""
    context = multiprocessing.get_context("spawn")
    ours, its = context.Pipe()
    process = context.Process(target=_run, args=(its, hangs), daemon=True)
    await asyncio.to_thread(process.start)
    try:
        if not await asyncio.to_thread(ours.poll, _START):
            raise TimeoutError("the receiver does not start")
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        await asyncio.to_thread(process.join)


def _run(told: Connection, hangs: bool) -> None:  # noqa: FBT001 - a process takes no keywords in a type-safe way
    asyncio.run(_serve(told, hangs=hangs))


async def _serve(told: Connection, *, hangs: bool) -> None:
    async def take(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        if hangs:
            await asyncio.Event().wait()
        return web.Response(status=204)

    runner = web.ServerRunner(web.Server(take, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    told.send(runner.addresses[0][1])
    await asyncio.Event().wait()
