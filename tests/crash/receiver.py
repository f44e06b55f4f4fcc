"""HTTP services that misbehave as real ones do, and write down what they took and what they did not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import TypeAlias

from aiohttp import web

from tests.crash.history import Arrival, digest_of

Service: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]

DEAD_LETTERS = 8
"""Of 256 bodies so many are refused for good, every time, until somebody has them replayed."""
_MOODS = {
    "down": 0.05,
    "down for a while": 0.002,
    "throttling": 0.005,
    "throttling for a second": 0.0005,
    "reset": 0.01,
    "reset after all": 0.01,
    "slow": 0.01,
    "too slow": 0.002,
}
"""How often each of them meets a request; the rest is taken at once."""
_SPELL = 12
"""Requests that find the service down, once it is: enough to open the breaker."""


class Receiver:
    """One service. Whatever it does with a request, it notes first, so that a late answer changes no order."""

    def __init__(self, arrived: list[Arrival], rng: Random, *, patience: float) -> None:
        """`patience` is after how many seconds the relay gives an attempt up."""
        self._arrived = arrived
        self._rng = rng
        self._patience = patience
        self._down_for = 0
        self._ending = asyncio.Event()
        self.lingering = 0
        """Requests that are noted, and whose answer takes its time."""
        self.done: set[bytes] = set()
        """Bodies that need not come again: taken, or refused for good."""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        event_id, digest, replayed = request.headers["webhook-id"], digest_of(body), "relay-replay" in request.headers

        def note(*, accepted: bool, final: bool = False) -> None:
            self._arrived.append(Arrival(event_id, digest, accepted=accepted, final=final, replayed=replayed))
            if accepted or final:
                self.done.add(digest)

        if digest[0] < DEAD_LETTERS and not replayed:
            note(accepted=False, final=True)
            return web.Response(status=422)
        return await self._behave(request, note)

    async def _behave(self, request: web.Request, note: Callable[..., None]) -> web.Response:
        mood = self._mood()
        match mood:
            case "down":
                note(accepted=False)
                return web.Response(status=503)
            case "throttling" | "throttling for a second":
                note(accepted=False)
                return web.Response(status=429, headers={"retry-after": "0" if mood == "throttling" else "1"})
            case "reset" | "reset after all":
                note(accepted=mood == "reset after all")
                if request.transport is not None:  # else the relay is dead already
                    request.transport.abort()
            case "slow":
                note(accepted=True)
                await self._linger(self._rng.uniform(0.1, 0.5) * self._patience)
            case "too slow":
                note(accepted=True)
                await self._linger(1.5 * self._patience)
            case _:
                note(accepted=True)
        return web.Response(status=204)

    async def _linger(self, seconds: float) -> None:
        self.lingering += 1
        try:
            async with asyncio.timeout(seconds):
                await self._ending.wait()
        except TimeoutError:
            return
        finally:
            self.lingering -= 1

    def end(self) -> None:
        """Take no more time."""
        self._ending.set()

    def _mood(self) -> str:
        if self._down_for > 0:
            self._down_for -= 1
            return "down"
        (mood,) = self._rng.choices([*_MOODS, "well"], [*_MOODS.values(), 1 - sum(_MOODS.values())])
        if mood == "down for a while":
            self._down_for = _SPELL
            return "down"
        return mood


class Served:
    """All services of one run, on one port, each on the path of its sink."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"

    @property
    def at_work(self) -> int:
        """Connections that are open, or whose request is still at work."""
        assert self._runner.server is not None
        return len(self._runner.server.connections)


@asynccontextmanager
async def serving(services: Mapping[str, Service]) -> AsyncIterator[Served]:
    """Services by the name of their sink, at work until the end of the `async with`."""
    application = web.Application()
    for sink, service in services.items():
        application.router.add_post(f"/{sink}", service)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=5.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield Served(runner)
    finally:
        await runner.cleanup()
