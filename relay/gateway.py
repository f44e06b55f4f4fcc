"""The public side: read, verify, match, accept, answer.

Only a 5xx is surely retried by the sender, so whatever is our fault is answered 503, and never 4xx or 429. The answer
waits for the store's commit and for nothing else: no sink, no template, no lookup.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from time import perf_counter
from typing import Annotated, Self

import orjson
from aiohttp import HttpVersion11, web
from pydantic import AfterValidator, Field, field_validator, model_validator

from relay import dyte
from relay.deadlines import Deadlines
from relay.errors import StoreUnavailable
from relay.identity import new_event_id
from relay.model import Admission, Event, Quarantine, value
from relay.options import Duration, Options, Secret, Size, Unfit
from relay.ports import Clock, Intake, Keys
from relay.publickey import PublicKey
from relay.registration.options import ApiOptions, ProviderName, keys_of, strange_keys
from relay.registration.url import web_address
from relay.reply import Reply
from relay.routing import RouteTable
from relay.telemetry import Telemetry

log = logging.getLogger("relay")

HARD_END = 2.5
"""Seconds in which every request is answered; the sender gives up after 3."""
BODY_TIME = 1.5
KEY_TIME = 1.0
COMMIT_TIME = 1.0
MOST_LAG = 1.0
"""Seconds that the event loop may take to come round; above it an answer would come too late to count, and to refuse
at once is what lets it catch up."""
RETRY_AFTER = "2"
"""Seconds, told with every 503."""
SERVER_NAME = "dyte-relay"
"""What the `server` header says: no version of anything."""


class GatewayOptions(Options):
    """The public side."""

    listen: str = "0.0.0.0:8080"
    """`host:port`; port 0 takes a free one."""
    max_body: Size = Field(default=1024 * 1024, ge=1)
    """Larger bodies are answered 413, which loses the event at the sender: keep it generous."""
    max_inflight: int = Field(default=1000, ge=1)
    """Requests at work at the same time; above it the answer is 503."""
    max_connections: int = Field(default=4000, ge=1)
    """Connections open at the same time; one more is closed at once."""
    min_free: Size = Field(default=128 * 1024 * 1024, ge=0)
    """With less free space where the store's file is, new events are answered 503 and deliveries go on; 0: no limit."""
    workers: int = Field(default=1, ge=1, le=64)
    """Processes that share the port and the store, for several cores; `max_inflight` and `max_connections` are shared
    out among them."""

    def shared_out(self, workers: int) -> GatewayOptions:
        """The options of one of so many processes, which together keep to these."""
        limits = {name: -(-getattr(self, name) // workers) for name in ("max_inflight", "max_connections")}
        return self.model_copy(update=limits)


class SourceOptions(Options):
    """Who posts to us, on which path, and whose signature counts."""

    provider: ProviderName = "dyte"
    """Whose public key to fetch; both header families are accepted from either."""
    path: str | None = Field(default=None, pattern=r"^/[A-Za-z0-9._~/-]{1,255}$")
    """Path of the webhook; `/webhooks/<source name>` without it. May hold an unguessable part."""
    public_url: Annotated[str, AfterValidator(web_address)] | None = None
    """Where the sender reaches this source, for `relay webhooks`: `https://host`, and the source's path is added. With
    a path of its own it is taken as it is, for a proxy that maps one to the other."""
    api: ApiOptions | None = None
    """The provider's API and the key to it, for `relay webhooks`."""
    public_key_url: str | None = None
    """Where to fetch the public key instead of at the provider. HTTPS, or loopback."""
    public_key: Secret | tuple[Secret, ...] = ()
    """Pinned PEM, or a list of them: nothing is fetched. An empty text counts as none."""
    organizations: tuple[str, ...] = ()
    """Allow-list of the signed organisation id; empty: any."""
    webhook_ids: tuple[str, ...] = ()
    """Allow-list of the webhook id header; empty: any."""
    replay_window: Duration = timedelta(minutes=5)
    """The same body under a new uuid inside it is a retry; 0 turns that off."""

    @field_validator("public_key", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        return () if given in ("", None) else given

    @field_validator("public_key")
    @classmethod
    def _readable(cls, given: Secret | tuple[Secret, ...]) -> Secret | tuple[Secret, ...]:
        for key in given if isinstance(given, tuple) else (given,):
            PublicKey.read(key.get_secret_value())
        return given

    @model_validator(mode="after")
    def _key_of_the_provider(self) -> Self:
        if self.api is not None and (strange := strange_keys(self.provider, self.api)):
            wanted = ", ".join(f"`{key}`" for key in keys_of(self.provider))
            raise Unfit(f"has `api.{strange[0]}`, but `provider: {self.provider}` has other keys; write {wanted}")
        return self

    @property
    def pinned(self) -> tuple[PublicKey, ...]:
        """The pinned keys."""
        keys = self.public_key if isinstance(self.public_key, tuple) else (self.public_key,)
        return tuple(PublicKey.read(key.get_secret_value()) for key in keys)

    def judge(self, event: Event) -> Quarantine | None:
        """Whether the event is for us. One key signs for all of the sender's customers, so only the content can tell.

        Dyte's livestream events carry no organisation; the webhook id admits them, where a list of those is given.
        """
        if self.webhook_ids and event.webhook_id not in self.webhook_ids:
            return Quarantine.WEBHOOK_ID
        if self.organizations and event.organization not in self.organizations:
            unnamed_but_expected = event.organization is None and event.defect is None and self.webhook_ids
            return None if unnamed_but_expected else Quarantine.ORGANIZATION
        return None


class Outcome(StrEnum):
    """How a request was answered. Closed: each value is a metric label."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    NOT_FOUND = "not_found"
    WRONG_METHOD = "wrong_method"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad_signature"
    ENCODED = "encoded"
    TOO_LARGE = "too_large"
    SLOW = "slow"
    BROKEN = "broken"
    NO_KEY = "no_key"
    STALE_KEY = "stale_key"
    STORE = "store"
    OVERLOADED = "overloaded"
    LATE = "late"
    ERROR = "error"


_STATUS = {
    Outcome.ACCEPTED: 200,
    Outcome.DUPLICATE: 200,
    Outcome.NOT_FOUND: 404,
    Outcome.WRONG_METHOD: 405,
    Outcome.UNSIGNED: 401,
    Outcome.BAD_SIGNATURE: 401,
    Outcome.ENCODED: 415,
    Outcome.TOO_LARGE: 413,
}
"""All others are 503: our fault, or so we say, because the sender must try again."""
_HEAD = f"HTTP/1.1 200 OK\r\nserver: {SERVER_NAME}\r\ncontent-type: application/json\r\n".encode()


@value
class Answer:
    """What the sender gets."""

    outcome: Outcome
    event_id: str | None = None
    detail: str = ""
    """For the log; never sent."""
    close: bool = False

    def response(self, request: web.BaseRequest) -> web.StreamResponse:
        """The HTTP response."""
        status = _STATUS.get(self.outcome, 503)
        if status == 200 and self.event_id is not None and not self.close and Reply.fits(request):
            body = b'{"status":"%s","id":"%s"}' % (self.outcome.encode(), self.event_id.encode())
            return Reply(request, _HEAD, body)
        told = {"status": str(self.outcome)} | ({} if self.event_id is None else {"id": self.event_id})
        headers = {"server": SERVER_NAME}
        if status == 503:
            headers["retry-after"] = RETRY_AFTER
        if status == 405:
            headers["allow"] = "POST"
        response = web.Response(
            body=orjson.dumps(told), status=status, headers=headers, content_type="application/json"
        )
        if self.close:
            response.force_close()
        return response


@value
class Source:
    """One source at work."""

    name: str
    options: SourceOptions
    keys: Keys


@value
class Rules:
    """All that a reload replaces, in one value, so that no request ever sees half of it."""

    sources: Mapping[str, Source]
    """By path."""
    table: RouteTable
    config: str
    """Hash of the configuration."""


async def _continue(request: web.BaseRequest) -> None:
    """Let a body come that waits to be asked for. Other expectations are ignored: a 417 would lose the event."""
    if request.version >= HttpVersion11 and request.headers.get("expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # this is not yet the answer


class Gateway:
    """Answers webhooks."""

    def __init__(
        self, options: GatewayOptions, rules: Rules, intake: Intake, *, telemetry: Telemetry, clock: Clock
    ) -> None:
        self._options = options
        self._intake = intake
        self._telemetry = telemetry
        self._clock = clock
        self._inflight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._hard_end, self._commit_time = Deadlines(HARD_END), Deadlines(COMMIT_TIME)
        telemetry.inflight(lambda: self._inflight)
        self.rules = rules

    async def idle(self) -> None:
        """Return when no request is at work; each of them ends within `HARD_END`."""
        await self._idle.wait()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever its path: which of them count is a matter of the rules in force."""
        started = perf_counter()
        rules = self.rules
        source = rules.sources.get(request.path)
        if source is None:
            answer = Answer(outcome=Outcome.NOT_FOUND)
        elif request.method != "POST":
            answer = Answer(outcome=Outcome.WRONG_METHOD)
        elif self._inflight >= self._options.max_inflight or self._hard_end.lag > MOST_LAG:
            answer = Answer(outcome=Outcome.OVERLOADED, close=True)
        else:
            answer = await self._within_time(request, source, rules)
        name = "none" if source is None else source.name
        self._telemetry.request_answered(name, answer.outcome, perf_counter() - started)
        if answer.detail:
            self._telemetry.request_refused(name, answer.outcome, answer.detail)
        return answer.response(request)

    async def _within_time(self, request: web.BaseRequest, source: Source, rules: Rules) -> Answer:
        self._inflight += 1
        self._idle.clear()
        task = self._hard_end.begin()
        try:
            return await self._answer(request, source, rules)
        except asyncio.CancelledError:
            if not self._hard_end.passed(task):
                raise
            return Answer(outcome=Outcome.LATE, detail=f"no answer was ready within {HARD_END} s", close=True)
        except Exception as error:  # whatever it is, it is ours, and the sender shall try again
            log.exception("request.crashed", extra={"source": source.name})
            return Answer(outcome=Outcome.ERROR, detail=type(error).__name__, close=True)
        finally:
            self._hard_end.end(task)
            self._inflight -= 1
            if self._inflight == 0:
                self._idle.set()

    async def _answer(self, request: web.BaseRequest, source: Source, rules: Rules) -> Answer:
        headers = request.headers
        if headers.get("content-encoding", "identity").lower() != "identity":
            return Answer(outcome=Outcome.ENCODED, detail="compressed bodies are not what was signed", close=True)
        try:
            signatures = dyte.read_signatures(headers.items())
        except dyte.MalformedSignature as error:
            return Answer(outcome=Outcome.UNSIGNED, detail=str(error))
        body = await self._read(request)
        if isinstance(body, Answer):
            return body
        signature = dyte.verify(body, signatures, source.keys.current())
        if signature is None:
            refusal = await self._refresh_keys(source)
            signature = dyte.verify(body, signatures, source.keys.current())
            if signature is None:
                return refusal
        now = self._clock.stamp()
        event = dyte.parse(
            event_id=new_event_id(now),
            source=source.name,
            body=body,
            signature=signature,
            headers=[(name, headers[name]) for name in dyte.KEPT_HEADERS if name in headers],
            received_at=now,
        )
        return await self._accept(self._admission(event, source, rules))

    async def _read(self, request: web.BaseRequest) -> bytes | Answer:
        if (request.content_length or 0) > self._options.max_body:
            return self._too_large()
        try:
            if request.content.is_eof():  # it came with the headers, as nearly always
                return await request.read()
            async with asyncio.timeout(BODY_TIME):
                await _continue(request)
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            return self._too_large()
        except TimeoutError:
            return Answer(outcome=Outcome.SLOW, detail=f"no whole body within {BODY_TIME} s", close=True)
        except (web.RequestPayloadError, ConnectionError) as error:
            return Answer(outcome=Outcome.BROKEN, detail=f"the body broke off: {type(error).__name__}", close=True)

    def _too_large(self) -> Answer:
        limit = self._options.max_body
        detail = f"a body above gateway.max_body ({limit} bytes): the sender will not send this event again"
        return Answer(outcome=Outcome.TOO_LARGE, detail=detail, close=True)

    async def _refresh_keys(self, source: Source) -> Answer:
        """No key fits: ask for newer ones, and prepare the answer for the case that none of those fits either."""
        try:
            async with asyncio.timeout(KEY_TIME):
                fresh = await source.keys.refresh()
        except TimeoutError:
            fresh = False
        if not source.keys.current():
            return Answer(outcome=Outcome.NO_KEY, detail="there is no public key yet")
        if fresh:
            return Answer(outcome=Outcome.BAD_SIGNATURE, detail="no key of this source fits the signature")
        return Answer(outcome=Outcome.STALE_KEY, detail="no key fits, and a newer one could not be fetched")

    def _admission(self, event: Event, source: Source, rules: Rules) -> Admission:
        quarantine = source.options.judge(event)
        once_only = event.type in dyte.ONCE_ONLY_TYPES
        return Admission(
            event=event,
            targets=() if quarantine else rules.table.match(event),
            quarantine=quarantine,
            replay_window=source.options.replay_window if once_only else timedelta(0),
            config=rules.config,
        )

    async def _accept(self, admission: Admission) -> Answer:
        task = self._commit_time.begin()
        try:
            acceptance = await self._intake.accept(admission)
        except StoreUnavailable as error:
            self._telemetry.store_failed(error.kind, str(error))
            return Answer(outcome=Outcome.STORE)
        except asyncio.CancelledError:
            if not self._commit_time.passed(task):
                raise
            self._telemetry.store_failed("slow", f"no commit within {COMMIT_TIME} s")
            return Answer(outcome=Outcome.STORE)
        finally:
            self._commit_time.end(task)
        self._telemetry.event_accepted(admission, acceptance)
        outcome = Outcome.ACCEPTED if acceptance.duplicate is None else Outcome.DUPLICATE
        return Answer(outcome=outcome, event_id=acceptance.event_id)
