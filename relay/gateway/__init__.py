"""The public side: read, verify, match, accept, answer.

Only a 5xx is surely retried by the sender, so whatever is our fault is answered 503, and never 4xx or 429. The answer
waits for the store's commit and for nothing else: no sink, no template, no lookup.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from time import perf_counter

from aiohttp import HttpVersion11, web

from relay import dyte
from relay.deadlines import Deadlines
from relay.errors import StoreUnavailable
from relay.gateway.answers import Answer, Outcome
from relay.gateway.bodies import Bodies
from relay.gateway.options import GatewayOptions, SourceOptions
from relay.identity import new_event_id
from relay.model import Admission, Event, value
from relay.ports import Clock, Intake, Keys
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


def _astray(request: web.BaseRequest) -> str:
    """What to say of a request for a path that no source has: strangers ask for any, but only a sender signs. The path
    stays out of the log: a part of it may be what nobody should guess."""
    if request.method != "POST" or not any(f"{family}-signature" in request.headers for family in dyte.FAMILIES):
        return ""
    return (
        "a signed webhook for a path where no source is, which its sender may not send again; compare the address that "
        "is registered with relay.yaml: `relay webhooks list` shows it"
    )


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
        self._bodies = Bodies(options.max_body)
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
            answer = Answer(outcome=Outcome.NOT_FOUND, detail=_astray(request))
        elif request.method != "POST":
            answer = Answer(outcome=Outcome.WRONG_METHOD)
        elif overload := self._overload():
            answer = Answer(outcome=Outcome.OVERLOADED, detail=overload, close=True)
        else:
            answer = await self._within_time(request, source, rules)
        name = "none" if source is None else source.name
        self._telemetry.request_answered(name, answer.outcome, perf_counter() - started)
        if answer.detail:
            self._telemetry.request_refused(name, answer.outcome, answer.detail)
        return answer.response(request)

    def _overload(self) -> str:
        """Why nothing more can be begun now; empty: it can."""
        if self._inflight >= self._options.max_inflight:
            return f"{self._inflight} requests are at work, as many as gateway.max_inflight lets in"
        if self._hard_end.lag > MOST_LAG:
            return f"the process is {self._hard_end.lag:.1f} s behind: it has more to do than it can"
        return ""

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
        size = self._bodies.size(request)
        if not size:  # nearly always
            return await self._take_in(request, source, rules, signatures)
        with self._bodies.room_for(size) as there_is_room:
            if there_is_room:
                return await self._take_in(request, source, rules, signatures)
        detail = "too many large bodies are coming in at the same time"
        return Answer(outcome=Outcome.OVERLOADED, detail=detail, close=True)

    async def _take_in(
        self, request: web.BaseRequest, source: Source, rules: Rules, signatures: Sequence[dyte.Signature]
    ) -> Answer:
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
            headers=[(name, request.headers[name]) for name in dyte.KEPT_HEADERS if name in request.headers],
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
