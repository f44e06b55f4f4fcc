"""The management API of both providers on loopback, as far as it concerns webhooks.

Written from what they document: https://docs.dyte.io/api (v2, HTTP Basic with organization ID and API key) and
https://developers.cloudflare.com/api/resources/realtime_kit/subresources/webhooks/ (Bearer with an API token). Both
answer `{"success", "data"}`; a refusal is `{"success": false, "error"}`, and 401 is `{"message"}` alone. Creating the
same address twice makes two webhooks, `PATCH` without `enabled` enables, and no secret is ever returned.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeAlias
from uuid import UUID, uuid5

from aiohttp import web

from tests.fakes.http import Answer, Endless, Hang, Reset, SlowBody

ORGANIZATION, API_KEY = "5d7c6e9a-0000-4000-8000-000000000000", "dyte-key-c4n4ry-31415926"
ACCOUNT, APP, API_TOKEN = "023e105f4ecef8ad9ca31a8372d0c353", "4f1c0a9e-app", "cf-token-c4n4ry-27182818"
EVENTS = {
    "meeting.started", "meeting.ended", "meeting.participantJoined", "meeting.participantLeft", "meeting.chatSynced",
    "recording.statusUpdate", "livestreaming.statusUpdate", "meeting.transcript", "meeting.summary",
}  # fmt: skip
_BEGAN = datetime(2026, 6, 1, tzinfo=UTC)
_NAMESPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


Trouble: TypeAlias = Answer | Hang | Reset | Endless | SlowBody


@dataclass(frozen=True)
class Obey:
    """Do what is asked for, as without a script."""


@dataclass(frozen=True)
class After:
    """Do what is asked for, and then hang, reset or answer something else: the caller cannot know that it was done."""

    step: Trouble


@dataclass(frozen=True)
class Meanwhile:
    """Somebody else registers this just before the call is carried out."""

    webhook: dict[str, Any]


Step: TypeAlias = Obey | After | Meanwhile | Trouble


@dataclass
class Asked:
    """One request, as it came."""

    method: str
    path: str
    authorization: str
    body: Any
    headers: dict[str, str] = field(default_factory=dict, repr=False)


class FakeProvider:
    """An async context manager. `webhooks` are those of the Dyte organization, `app_webhooks` those of the app."""

    def __init__(self) -> None:
        self.webhooks: list[dict[str, Any]] = []
        self.app_webhooks: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self.paging: dict[str, Any] | None = None
        """What a list says of its pages; both providers say nothing."""
        self._script: deque[tuple[str, Step]] = deque()
        self._made = 0
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._origin = ""

    @property
    def dyte_url(self) -> str:
        """Base address of Dyte's API."""
        return f"{self._origin}/v2"

    @property
    def cloudflare_url(self) -> str:
        """Base address of Cloudflare's API."""
        return f"{self._origin}/client/v4"

    @property
    def calls(self) -> list[str]:
        """The methods that were called, in order."""
        return [each.method for each in self.asked]

    def on(self, method: str, *steps: Step) -> Self:
        """Script the next answers to this method, one for each call."""
        self._script.extend((method, step) for step in steps)
        return self

    def add(self, url: str, *events: str, enabled: bool = True, name: str = "by hand", app: bool = False) -> str:
        """Somebody registered this; its id."""
        webhook = self._webhook({"name": name, "url": url, "events": list(events), "enabled": enabled})
        (self.app_webhooks if app else self.webhooks).append(webhook)
        return str(webhook["id"])

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1024 * 1024)
        dyte, kit = "/v2/webhooks", "/client/v4/accounts/{account}/realtime/kit/{app}/webhooks"
        for base in (dyte, kit):
            app.router.add_route("*", base, self._take)
            app.router.add_route("*", base + "/{id}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self._origin = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(text) if (text := await request.text()) else None
        given = request.headers.get("authorization", "")
        self.asked.append(Asked(request.method, request.path, given, body, dict(request.headers)))
        return await self._act(self._next(request.method), request, lambda: self._obey(request, body))

    def _next(self, method: str) -> Step:
        if self._script and self._script[0][0] == method:
            return self._script.popleft()[1]
        return Obey()

    async def _act(
        self, step: Step, request: web.Request, obey: Callable[[], web.StreamResponse]
    ) -> web.StreamResponse:
        match step:
            case Obey():
                return obey()
            case After():
                obey()
                return await self._trouble(step.step, request)
            case Meanwhile():
                self._of(request).append(self._webhook(step.webhook))
                return obey()
            case _:
                return await self._trouble(step, request)

    async def _trouble(self, step: Trouble, request: web.Request) -> web.StreamResponse:
        match step:
            case Answer():
                return web.Response(status=step.status, body=step.body, headers=step.headers)
            case Reset():
                assert request.transport is not None
                request.transport.abort()
            case Endless():
                return await _pour(request)
            case SlowBody():
                return await _stall(request, self._released)
            case Hang():
                await self._released.wait()
        return web.Response(status=500)

    def _of(self, request: web.Request) -> list[dict[str, Any]]:
        return self.app_webhooks if "account" in request.match_info else self.webhooks

    def _obey(self, request: web.Request, body: Any) -> web.StreamResponse:
        if "account" in request.match_info:
            if request.headers.get("authorization") != f"Bearer {API_TOKEN}":
                return web.json_response(
                    {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]}, status=401
                )
            if (request.match_info["account"], request.match_info["app"]) != (ACCOUNT, APP):
                return _refusal(404, "NOT_FOUND: no such app")
        elif request.headers.get("authorization") != basic(ORGANIZATION, API_KEY):
            return web.json_response({"message": "Unauthorized"}, status=401)
        handle = self._one if "id" in request.match_info else self._all
        return handle(request, self._of(request), body)

    def _all(self, request: web.Request, webhooks: list[dict[str, Any]], body: Any) -> web.StreamResponse:
        if request.method == "GET":
            paging = {} if self.paging is None else {"paging": self.paging}
            return web.json_response({"success": True, "data": webhooks, **paging})
        if request.method != "POST":
            return _refusal(405, "METHOD_NOT_ALLOWED")
        if (wrong := _wrong(body, whole=True)) is not None:
            return _refusal(400, f"BAD_REQUEST: {wrong}")
        webhooks.append(made := self._webhook(body))
        return web.json_response({"success": True, "data": made}, status=201)

    def _one(self, request: web.Request, webhooks: list[dict[str, Any]], body: Any) -> web.StreamResponse:
        asked = request.match_info["id"]
        if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", asked) is None:
            return _refusal(400, 'BAD_REQUEST: "id" must be a valid GUID')
        found = next((each for each in webhooks if each["id"] == asked), None)
        if found is None:
            return _refusal(404, "NOT_FOUND: webhook not found")
        if request.method == "DELETE":
            webhooks.remove(found)
        elif request.method in ("PATCH", "PUT"):
            if (wrong := _wrong(body, whole=request.method == "PUT")) is not None:
                return _refusal(400, f"BAD_REQUEST: {wrong}")
            found |= {"enabled": True} | body | {"updated_at": self._now()}
        elif request.method != "GET":
            return _refusal(405, "METHOD_NOT_ALLOWED")
        return web.json_response({"success": True, "data": found})

    def _webhook(self, given: dict[str, Any]) -> dict[str, Any]:
        self._made += 1
        made = self._now()
        about = {"id": str(uuid5(_NAMESPACE, str(self._made))), "created_at": made, "updated_at": made}
        return {"enabled": True, **given, **about}

    def _now(self) -> str:
        return (_BEGAN + timedelta(seconds=self._made)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def basic(user: str, password: str) -> str:
    """The header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def _wrong(body: Any, *, whole: bool) -> str | None:
    """What the API says of a body that it does not take."""
    if not isinstance(body, dict):
        return '"value" must be of type object'
    kinds = {"name": str, "url": str, "events": list, "enabled": bool}
    faults = [f'"{key}" is required' for key in kinds if whole and key != "enabled" and key not in body]
    faults += [f'"{key}" is not allowed' for key in body if key not in kinds]
    faults += [
        f'"{key}" must be a {kinds[key].__name__}'
        for key in kinds.keys() & body.keys()
        if not isinstance(body[key], kinds[key])
    ]
    if not faults and "url" in body and not re.match(r"https?://[^/]+", body["url"]):
        faults.append('"url" must be a valid uri')
    if not faults and "events" in body and (not body["events"] or not set(body["events"]) <= EVENTS):
        faults.append('"events[0]" must be one of [' + ", ".join(sorted(EVENTS)) + "]")
    return faults[0] if faults else None


def _refusal(status: int, message: str) -> web.Response:
    return web.json_response({"success": False, "error": {"code": status, "message": message}}, status=status)


async def _stall(request: web.Request, released: asyncio.Event) -> web.StreamResponse:
    response = web.StreamResponse(status=200)
    await response.prepare(request)
    await response.write(b'{"success": ')
    await released.wait()
    return response


async def _pour(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(status=200)
    await response.prepare(request)
    for _ in range(1000):  # 16 MB: far more than anybody should read, and not for ever
        await response.write(b" " * 16_384)
    return response
