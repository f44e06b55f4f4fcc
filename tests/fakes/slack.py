"""Slack on loopback: takes what Slack documents that it takes, refuses what it documents that it refuses.

Speaks both ways to post: an incoming webhook (`/services/T…/B…/X…`, plain-text answers) and `chat.postMessage` (JSON
answers, HTTP 200 also for errors). What comes next can be scripted, one answer per request.

https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://docs.slack.dev/reference/methods/chat.postMessage
https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

from aiohttp import web

from tests.fakes.slack_rules import fault, fault_places
from tests.ports import HOST, free_port

TOKEN = "xoxb-canary-2718281828-token"
WEBHOOK_PATH = "/services/T0000CANARY/B0000CANARY/canary2718281828secret"
CHANNEL = "C024BE91L"


@dataclass(frozen=True)
class Answer:
    """Answer with exactly this."""

    status: int = 200
    body: str | bytes = "ok"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Refuse:
    """Answer with one of Slack's error codes, in the manner of the endpoint that is asked."""

    code: str
    messages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Hang:
    """Take the request and never answer."""


@dataclass(frozen=True)
class Reset:
    """Take the request and break the connection."""


@dataclass(frozen=True)
class Endless:
    """Answer 200 and go on for ever."""


@dataclass(frozen=True)
class Accept:
    """Validate and post, as without a script."""


Step: TypeAlias = Answer | Refuse | Hang | Reset | Endless | Accept
MAYBE_POSTED = (Hang, Reset, Endless)


@dataclass(frozen=True)
class Posted:
    """A message that appeared in the channel."""

    way: str
    message: dict[str, Any]
    ts: str


_STATUS = {
    403: ("action_prohibited", "posting_to_general_channel_denied", "invalid_token"),
    404: (
        "no_service", "no_service_id", "no_active_hooks", "no_team", "channel_not_found", "user_not_found",
        "team_disabled",
    ),
    410: ("channel_is_archived",),
}  # fmt: skip


class FakeSlack:
    """An async context manager; everything is at `webhook_url`, or at `api_url` with `TOKEN` and `CHANNEL`."""

    def __init__(self) -> None:
        self.posted: list[Posted] = []
        self.requests: list[tuple[str, Any]] = []
        """Path and JSON of every request, in order, also of refused ones."""
        self.headers: list[Mapping[str, str]] = []
        self.asked = asyncio.Event()
        """Set when a request has come in whole."""
        self.min_interval = 0.0
        """Seconds between two messages; earlier ones are answered 429. Slack's is 1 for each channel."""
        self.default: Step = Accept()
        """What comes after the script."""
        self._script: deque[Step] = deque()
        self._released = asyncio.Event()
        self._last_post: float | None = None
        self._runner: web.AppRunner | None = None
        self._origin = ""
        self._port = 0

    def will(self, *steps: Step) -> Self:
        """Script the next answers, one per request; after them comes `default`: it validates and posts."""
        self._script.extend(steps)
        return self

    @property
    def port(self) -> int:
        return self._port

    @property
    def webhook_url(self) -> str:
        return self._origin + WEBHOOK_PATH

    @property
    def api_url(self) -> str:
        return self._origin + "/api/"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages that were posted, in order."""
        return [posted.message for posted in self.posted]

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_post("/services/{team}/{hook}/{secret}", self._take_webhook)
        app.router.add_post("/api/chat.postMessage", self._take_api)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        self._port = self._port or free_port()  # entered again, it is where it was
        await web.TCPSite(self._runner, HOST, self._port).start()
        self._origin = f"http://{HOST}:{self._port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._released.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take_webhook(self, request: web.Request) -> web.StreamResponse:
        message = await self._read(request)
        step = self._next()
        if not isinstance(step, Accept):
            return await self._act(step, request, webhook=True)
        code = "no_service" if request.path != WEBHOOK_PATH else fault(message)
        if code is not None:
            return _refuse_webhook(code)
        if self._too_fast():
            return web.Response(status=429, text="rate_limited", headers={"Retry-After": "1"})
        self._post("webhook", message)
        return web.Response(text="ok")

    async def _take_api(self, request: web.Request) -> web.StreamResponse:
        message = await self._read(request)
        step = self._next()
        if not isinstance(step, Accept):
            return await self._act(step, request, webhook=False)
        code = _login_fault(request) or _channel_fault(message) or fault(message)
        if code is not None:
            return _refuse_api(code, fault_places(message) if code == "invalid_blocks" else ())
        if self._too_fast():
            return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "1"})
        posted = self._post("api", message)
        return web.json_response({"ok": True, "channel": CHANNEL, "ts": posted.ts, "message": {"text": "…"}})

    async def _read(self, request: web.Request) -> Any:
        body = await request.read()
        try:
            message = json.loads(body)
        except ValueError:
            message = None
        self.requests.append((request.path, message))
        self.headers.append(request.headers)
        self.asked.set()
        return message

    def _next(self) -> Step:
        return self._script.popleft() if self._script else self.default

    async def _act(self, step: Step, request: web.Request, *, webhook: bool) -> web.StreamResponse:
        match step:
            case Answer():
                body = step.body.encode() if isinstance(step.body, str) else step.body
                return web.Response(
                    status=step.status, body=body, headers={"Content-Type": "text/plain"} | dict(step.headers)
                )
            case Refuse():
                return _refuse_webhook(step.code) if webhook else _refuse_api(step.code, step.messages)
            case Reset():
                assert request.transport is not None
                request.transport.abort()
            case Endless():
                return await self._pour(request)
            case _:
                await self._released.wait()
        return web.Response(status=500)

    async def _pour(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(10_000):  # 160 MB: far more than anybody should read, and not for ever
            await response.write(b"o" * 16_384)
        return response

    def _too_fast(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._last_post is not None and now - self._last_post < self.min_interval:
            return True
        self._last_post = now
        return False

    def _post(self, way: str, message: dict[str, Any]) -> Posted:
        posted = Posted(way=way, message=message, ts=f"1503435956.{len(self.posted):06}")
        self.posted.append(posted)
        return posted


def _refuse_webhook(code: str) -> web.Response:
    status = next((status for status, codes in _STATUS.items() if code in codes), 400)
    return web.Response(status=status, text=code)


def _refuse_api(code: str, messages: tuple[str, ...] = ()) -> web.Response:
    answer: dict[str, Any] = {"ok": False, "error": code}
    if messages:
        answer["response_metadata"] = {"messages": list(messages)}
    return web.json_response(answer)


def _login_fault(request: web.Request) -> str | None:
    if "Authorization" not in request.headers:
        return "not_authed"
    return None if request.headers["Authorization"] == f"Bearer {TOKEN}" else "invalid_auth"


def _channel_fault(message: Any) -> str | None:
    return "channel_not_found" if isinstance(message, dict) and message.get("channel") != CHANNEL else None
