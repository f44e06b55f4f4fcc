"""The private side: metrics and health. It says what is; it changes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from relay.model import value
from relay.options import Options, Secret
from relay.telemetry import CONTENT_TYPE


class AdminOptions(Options):
    """The private side."""

    listen: str = "127.0.0.1:8081"
    """`host:port`; port 0 takes a free one."""
    token: Secret | None = None
    """Bearer token of the API; without one the API answers only on loopback."""


@value
class Readiness:
    """Whether events can be taken in, and what stands in the way."""

    ready: bool
    checks: Mapping[str, str]
    """A word or a sentence for each part; `ok` where it is."""


class Admin:
    """Answers monitoring."""

    def __init__(
        self, *, exposition: Callable[[], Awaitable[bytes]], readiness: Callable[[], Awaitable[Readiness]]
    ) -> None:
        self._exposition = exposition
        self._readiness = readiness

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application()
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/livez", self._livez)
        application.router.add_get("/readyz", self._readyz)
        return application

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=await self._exposition(), headers={"content-type": CONTENT_TYPE})

    async def _livez(self, _request: web.Request) -> web.Response:
        """The event loop turns; nothing else is asked, so that no dead sink or full disk gets the process killed."""
        return web.Response(body=b'{"alive":true}', content_type="application/json")

    async def _readyz(self, _request: web.Request) -> web.Response:
        state = await self._readiness()
        body = orjson.dumps({"ready": state.ready, "checks": dict(state.checks)})
        return web.Response(body=body, status=200 if state.ready else 503, content_type="application/json")
