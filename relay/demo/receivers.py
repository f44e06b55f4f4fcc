"""Receivers for the demo, on loopback: an HTTP service that verifies signatures, a Slack, a key document."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import web

from relay.model import value
from relay.simulator import SimulatorKey, well_known
from relay.standard_webhooks import read_secret, verify


@value
class Request:
    """What the HTTP service got."""

    headers: Mapping[str, str]
    body: bytes
    genuine: bool
    """Whether its Standard Webhooks signature is right."""


class DemoServer:
    """One loopback server that plays the three."""

    def __init__(self, key: SimulatorKey, secret: str) -> None:
        self._key = key
        self._secrets = [read_secret(secret)]
        self.requests: list[Request] = []
        self.messages: list[dict[str, Any]] = []
        self.url = ""

    async def start(self) -> web.AppRunner:
        """Listen on a free port; clean the runner up at the end."""
        application = web.Application()
        application.router.add_get("/.well-known/webhooks.json", self._key_document)
        application.router.add_post("/crm", self._crm)
        application.router.add_post("/services/T000/B000/demo", self._slack)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    async def _key_document(self, _request: web.Request) -> web.Response:
        return web.Response(body=well_known(self._key), content_type="application/json")

    async def _crm(self, request: web.Request) -> web.Response:
        body = await request.read()
        genuine = verify(self._secrets, headers=request.headers, body=body, now=time.time())
        self.requests.append(Request(headers=dict(request.headers), body=body, genuine=genuine))
        return web.Response(status=204 if genuine else 401)

    async def _slack(self, request: web.Request) -> web.Response:
        self.messages.append(orjson.loads(await request.read()))
        return web.Response(text="ok")
