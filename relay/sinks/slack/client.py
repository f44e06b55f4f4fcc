"""Posting to Slack through slack_sdk, with its retries, its logs, its proxies and its sessions switched off.

Errors leave without the exception that caused them: its text holds the address, which of a webhook is the credential.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from relay.errors import DeliveryError, Unavailable
from relay.model import Reason
from relay.sinks.slack import errors as slack_errors
from relay.sinks.slack.cards import Message
from relay.sinks.slack.text import clean, shorten

_MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that are read; Slack's has a few hundred, or a few thousand where it repeats the message."""
_CONNECT_SECONDS: Final = 5.0

# In slack_sdk's own words requests stand with address and body, also at the level NOTSET. This logger belongs to no
# tree, so no configuration reaches it, and it says nothing.
_QUIET: Final = logging.Logger("slack_sdk (quiet)", level=logging.CRITICAL + 1)  # noqa: LOG001

_TROUBLE: Final = (aiohttp.ClientError, OSError, SlackClientError, AttributeError, LookupError, TypeError, ValueError)
"""A broken connection; and what slack_sdk lets out when an answer is not of the shape that it expects."""


class SlackClient(ABC):
    """One way to post to one channel. Connects on first use; calls share a connection pool."""

    def __init__(self, *, seconds: float) -> None:
        """`seconds` is what the caller gives to one delivery; a connection gets no more than half of it."""
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def post(self, message: Message) -> str:
        """Post once and return a receipt. Raises DeliveryError, and TimeoutError or CancelledError from around it."""
        if self._closed:
            raise Unavailable(Reason.STOPPING, "the relay is stopping")
        try:
            return await self._send(message)
        except DeliveryError as raised:
            error = raised.with_traceback(None)
        except _TROUBLE as raised:
            error = slack_errors.of_transport(raised)
        raise error  # outside of `except`, so that the client's exception does not follow as its context

    async def close(self) -> None:
        """Close the connections; what is under way fails as interrupted."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def addressed(self, message: Message) -> Message:
        """The message as it is posted: with what says where to."""
        return message

    @abstractmethod
    async def _send(self, message: Message) -> str: ...

    def _connected(self) -> aiohttp.ClientSession:
        """The session, made on first use; ours, because slack_sdk's own is new for each call."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # the caller limits the whole; here only what can be told apart as `nothing was sent`
                timeout=aiohttp.ClientTimeout(total=None, connect=min(_CONNECT_SECONDS, self._seconds / 2)),
                headers={"Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                middlewares=(_screen,),
            )
        return self._session


class WebhookClient(SlackClient):
    """An incoming webhook."""

    def __init__(self, url: str, *, seconds: float) -> None:
        super().__init__(seconds=seconds)
        self._url = url

    async def _send(self, message: Message) -> str:
        client = AsyncWebhookClient(self._url, session=self._connected(), logger=_QUIET, retry_handlers=[])
        client.proxy = None  # the constructor takes it from the environment
        answer = await client.send_dict(self.addressed(message))
        if answer.status_code != 200:
            raise slack_errors.of_code(slack_errors.code_in(answer.body), status=answer.status_code)
        if answer.body.strip() != "ok":
            raise slack_errors.unreadable("HTTP 200 without `ok`")
        return "ok"


class ApiClient(SlackClient):
    """A bot's token and a channel: `chat.postMessage`."""

    def __init__(self, token: str, channel: str, *, api_url: str, seconds: float) -> None:
        super().__init__(seconds=seconds)
        self._token = token
        self._channel = channel
        self._api_url = api_url

    def addressed(self, message: Message) -> Message:
        # parse=none: a bare address in `text` is not made a link
        return {"channel": self._channel, "parse": "none", **message}

    async def _send(self, message: Message) -> str:
        session = self._connected()
        client = AsyncWebClient(self._token, self._api_url, session=session, logger=_QUIET, retry_handlers=[])
        client.proxy = None
        try:
            answer = await client.chat_postMessage(**self.addressed(message))
        except SlackApiError as raised:
            error = _of_api_error(raised, secret=self._token)
        else:
            return f"{_told(answer.get('channel')) or self._channel}/{_told(answer.get('ts'))}"
        raise error


class _Capped:
    """The body of an answer, of which no more than `_MAX_ANSWER` bytes are taken in."""

    def __init__(self, stream: aiohttp.StreamReader) -> None:
        self._stream = stream

    async def read(self) -> bytes:
        chunks = bytearray()
        while chunk := await self._stream.readany():
            chunks += chunk
            if len(chunks) > _MAX_ANSWER:
                raise slack_errors.unreadable(f"more than {_MAX_ANSWER // 1024} KiB")
        return bytes(chunks)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


async def _screen(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Judge an answer before slack_sdk sees it: by its status where that is enough, else its body is bounded."""
    response = await handler(request)
    error = slack_errors.of_status(response.status, response.headers)
    if error is not None:
        response.close()
        raise error
    response.content = _Capped(response.content)  # type: ignore[assignment]  # what `read()` needs of it
    return response


def _of_api_error(raised: SlackApiError, *, secret: str) -> DeliveryError:
    """The answer of the Web API is in the exception, as a response of slack_sdk's or, if not JSON, of aiohttp's."""
    answer = raised.response
    data = getattr(answer, "data", None)
    status: int = getattr(answer, "status_code", 0) or getattr(answer, "status", 0)
    if not isinstance(data, dict) or not isinstance(data.get("error"), str):
        return slack_errors.unreadable("no error code") if status == 200 else slack_errors.of_code(None, status=status)
    return slack_errors.of_code(slack_errors.code_in(data["error"]), status=status, hint=_hint(data, secret))


def _hint(data: Mapping[str, Any], secret: str) -> str:
    """What Slack says beyond the code: the place of the mistake in the blocks, or the scope that is missing."""
    metadata = data.get("response_metadata")
    messages = metadata.get("messages") if isinstance(metadata, dict) else None
    said = [*(messages if isinstance(messages, list) else []), data.get("needed")]
    hint = clean("; ".join(text for text in said if isinstance(text, str)))
    return shorten(hint.replace(secret, "***"), 300)


def _told(value: object) -> str:
    return shorten(clean(value), 64) if isinstance(value, str) else ""
