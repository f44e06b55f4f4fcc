"""The private side: metrics and health for monitoring, and the JSON API for people's tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web
from pydantic import field_validator

from relay.admin.api import Api
from relay.model import value
from relay.options import Options, Secret, Unfit
from relay.telemetry import CONTENT_TYPE

SHORTEST_TOKEN = 16


class AdminOptions(Options):
    """The private side."""

    listen: str = "127.0.0.1:8081"
    """`host:port`; port 0 takes a free one."""
    token: Secret | None = None
    """Bearer token of the API, of 16 characters or more; without one the API answers only on loopback. An empty text
    counts as none."""

    @field_validator("token")
    @classmethod
    def _is_long(cls, token: Secret | None) -> Secret | None:
        if token is None or not token.get_secret_value():
            return None
        if len(token.get_secret_value()) < SHORTEST_TOKEN:
            raise Unfit(f"is shorter than {SHORTEST_TOKEN} characters; make one with: openssl rand -hex 32")
        return token


@value
class Readiness:
    """Whether events can be taken in, and what stands in the way."""

    ready: bool
    checks: Mapping[str, str]
    """A word or a sentence for each part; `ok` where it is."""


class Admin:
    """Answers monitoring, which asks without a token, and hands everything else to the API."""

    def __init__(
        self,
        *,
        exposition: Callable[[], Awaitable[bytes]],
        readiness: Callable[[], Awaitable[Readiness]],
        api: Api,
    ) -> None:
        self._exposition = exposition
        self._readiness = readiness
        self._api = api

    def application(self) -> web.Application:
        """The aiohttp application."""
        application = web.Application(client_max_size=64 * 1024)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_get("/livez", self._livez)
        application.router.add_get("/readyz", self._readyz)
        self._api.add_to(application)
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
