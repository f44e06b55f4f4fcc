"""Posting simulated webhooks as the sender does: in order within a meeting, and again after a 5xx or no answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from zlib import crc32

import aiohttp
import orjson

from relay.simulator.sending import SimulatedWebhook

SENDER_TIMEOUT = 3.0
"""Seconds after which Dyte takes a webhook for failed."""
NO_ANSWER = "no answer"
RETRY_PAUSE = 1.0
"""Seconds between Dyte's tries, by its FAQ."""


@dataclass
class Report:
    """What became of what was posted."""

    posted: int = 0
    """Requests, tries again included."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """How the last try of each webhook ended: the status in the answer, `401` and the like, or `no answer`."""
    accepted: list[str] = field(default_factory=list)
    """Event ids that the relay accepted, in the order of its answers."""
    seconds: list[float] = field(default_factory=list)
    """How long each answer took."""
    given_up: bool = False
    """Whether the rest was not posted, because the first webhooks had no answer, or a 5xx, on every try."""

    @property
    def failed(self) -> int:
        """Webhooks that the relay took neither now nor before."""
        return sum(self.outcomes.values()) - self.outcomes["accepted"] - self.outcomes["duplicate"]

    @property
    def hopeless(self) -> bool:
        """Whether something was posted, and nothing ever got another answer than a 5xx."""
        return bool(self.outcomes) and all(outcome == NO_ANSWER or outcome[0] == "5" for outcome in self.outcomes)

    def percentile(self, share: float) -> float:
        """Seconds in which this share of the answers came; 0 without any."""
        ranked = sorted(self.seconds)
        return ranked[min(len(ranked) - 1, int(len(ranked) * share))] if ranked else 0.0


async def post_all(
    webhooks: Iterator[SimulatedWebhook],
    *,
    urls: Mapping[str, str] | str,
    rate: float | None = None,
    concurrency: int = 32,
    retries: int = 3,
    told: Callable[[Report], None] = lambda _report: None,
) -> Report:
    """Post everything, at most `rate` a second, and report.

    `urls` is one address, or one for each header family (`dyte`, `rtk`). `told` is called after each webhook. Where the
    first webhooks are taken on none of their tries it ends early: somebody waits to hear that no relay is there.
    """
    report = Report()
    async with _session(concurrency) as session, asyncio.TaskGroup() as group:
        queues: list[asyncio.Queue[SimulatedWebhook | None]] = [asyncio.Queue(4) for _ in range(concurrency)]
        poster = _Poster(session, urls, retries, report, told)
        for queue in queues:
            group.create_task(poster.work(queue))
        async for webhook in _paced(webhooks, rate):
            if report.given_up:
                break
            # One queue for each meeting: its events arrive in the order in which they were sent.
            await queues[crc32(webhook.meeting.encode()) % concurrency].put(webhook)
        for queue in queues:
            await queue.put(None)
    return report


@asynccontextmanager
async def _session(concurrency: int) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=SENDER_TIMEOUT)
    connector = aiohttp.TCPConnector(limit=concurrency)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, trust_env=False) as session:
        yield session


async def _paced(webhooks: Iterator[SimulatedWebhook], rate: float | None) -> AsyncIterator[SimulatedWebhook]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    for number in count():
        if rate is not None and (ahead := started + number / rate - loop.time()) > 0:
            await asyncio.sleep(ahead)
        webhook = next(webhooks, None)
        if webhook is None:
            return
        yield webhook


class _Poster:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        urls: Mapping[str, str] | str,
        retries: int,
        report: Report,
        told: Callable[[Report], None],
    ) -> None:
        self._session = session
        self._urls = urls
        self._retries = retries
        self._report = report
        self._told = told

    async def work(self, queue: asyncio.Queue[SimulatedWebhook | None]) -> None:
        while (webhook := await queue.get()) is not None:
            if self._report.hopeless:
                self._report.given_up = True
                continue
            await self._post(webhook)
            self._told(self._report)

    async def _post(self, webhook: SimulatedWebhook) -> None:
        """As the sender: 2xx is done, a 5xx or no answer is tried again, anything else is final."""
        outcome = NO_ANSWER
        for left in range(self._retries, -1, -1):
            status, outcome, event_id = await self._try(webhook)
            if outcome == "accepted" and event_id is not None:
                self._report.accepted.append(event_id)
            if status is not None and status < 500:
                break
            if left:
                await asyncio.sleep(RETRY_PAUSE)
        self._report.outcomes[outcome] += 1

    async def _try(self, webhook: SimulatedWebhook) -> tuple[int | None, str, str | None]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._report.posted += 1
        try:
            async with self._session.post(
                self._url(webhook), data=webhook.body, headers=webhook.headers, allow_redirects=False
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None, NO_ANSWER, None
        self._report.seconds.append(loop.time() - started)
        outcome, event_id = _read(response.status, body)
        return response.status, outcome, event_id

    def _url(self, webhook: SimulatedWebhook) -> str:
        if isinstance(self._urls, str):
            return self._urls
        return self._urls["rtk" if "rtk-signature" in webhook.headers else "dyte"]


def _read(status: int, body: bytes) -> tuple[str, str | None]:
    """The outcome and the event id in an answer; of what is no answer of the relay, the status."""
    try:
        answer = orjson.loads(body) if status == 200 else None
    except orjson.JSONDecodeError:
        answer = None
    match answer:
        case {"status": "accepted" | "duplicate" as outcome, "id": str(event_id)}:
            return outcome, event_id
        case _:
            return str(status), None
