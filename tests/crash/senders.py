"""Senders that post signed webhooks for as long as they are let, and write down what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import orjson

from relay.simulator import SimulatorKey
from tests.crash.history import History, Sent, digest_of
from tests.fakes.keys import key_pair

MEETINGS = 80
_FORGED = 0.03
_COPIED = 0.02
_COPIES = 5
_TRIES = 4
_TYPES = ("meeting.started", "meeting.participantJoined", "recording.statusUpdate", "something.new")


class Senders:
    """All senders of one run. They pause while no relay is there."""

    def __init__(self, history: History, rng: Random, session: aiohttp.ClientSession, meetings: int) -> None:
        self.history = history
        self._rng = rng
        self._meetings = meetings
        self._session = session
        self._urls: list[str] = []
        self._there = asyncio.Event()
        self.enough: Callable[[], bool] = lambda: False
        """Whether so much waits in the relay that nothing new is sent for now."""
        self.pause_between = 0.0
        """Seconds that each sender waits between two webhooks: many would leave no processor for anything else."""

    def go_on(self, *addresses: str) -> None:
        """Post to these relays, to any of them; without one, to nobody for now."""
        self._urls = [f"http://{address}/webhooks/dyte" for address in addresses]
        self._note()

    def pause(self) -> None:
        """Post nothing new."""
        self._there.clear()

    async def work(self) -> None:
        """Post one webhook after the other, each until it is acknowledged or was tried often enough.

        Some are posted several times at once, as a sender does that loses patience with an answer that is on its way.
        """
        while True:
            while self.enough():  # noqa: ASYNC110 - nobody announces the end of it
                await asyncio.sleep(0.01)
            await asyncio.sleep(self.pause_between)
            await self.post(copies=_COPIES if self._rng.random() < _COPIED else 1)

    async def post(self, *, copies: int, kind: str | None = None) -> None:
        """Post one more webhook, so often at the same time: any, or an authentic one of this type."""
        forged = kind is None and self._rng.random() < _FORGED
        sent, body, headers = self._next(kind or self._rng.choice(_TYPES), forged=forged)
        await asyncio.gather(*(self._insist(sent, body, headers) for _ in range(copies)))

    async def _insist(self, sent: Sent, body: bytes, headers: dict[str, str]) -> None:
        for _ in range(_TRIES):
            told = await self._post(sent, body, headers)
            while not told:
                told = await self._post(sent, body, headers)
            if sent.acknowledged or sent.refused:
                return

    def _next(self, kind: str, *, forged: bool) -> tuple[Sent, bytes, dict[str, str]]:
        number = len(self.history.sent)
        meeting = {
            "id": f"meeting-{self._rng.randrange(self._meetings)}",
            "title": "Täglich 👋",
        }
        payload = {"event": kind, "number": number, "meeting": meeting, "pad": "é" * (number % 900)}
        body = orjson.dumps(payload)
        sent = Sent(digest=digest_of(body), meeting=meeting["id"], forged=forged)
        self.history.sent.append(sent)
        return sent, body, _headers(body, key_pair("forger") if forged else key_pair(), f"uuid-{number}")

    async def _post(self, sent: Sent, body: bytes, headers: dict[str, str]) -> bool:
        """Post once. False where it never left: the relay is gone, and the next one has another address."""
        await self._there.wait()
        url = self._rng.choice(self._urls)
        try:
            async with self._session.post(url, data=body, headers=headers) as response:
                answer = orjson.loads(await response.read())
        except aiohttp.ClientConnectorError:
            self._leave(url)
            return False
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            sent.unknown += 1
            return True
        if response.status == 200:
            self.history.acknowledge(sent, answer["id"])
        elif response.status >= 500:
            sent.busy += 1
        else:
            sent.refused += 1
        return True

    def _leave(self, url: str) -> None:
        """Nobody is there any more."""
        if url in self._urls:
            self._urls.remove(url)
        self._note()

    def _note(self) -> None:
        if self._urls:
            self._there.set()
        else:
            self._there.clear()


def _headers(body: bytes, key: SimulatorKey, uuid: str) -> dict[str, str]:
    return {
        "dyte-signature": key.sign(body),
        "dyte-uuid": uuid,
        "dyte-webhook-id": "registration",
        "content-type": "application/json",
    }


@asynccontextmanager
async def sending(history: History, rng: Random, count: int, *, meetings: int = MEETINGS) -> AsyncIterator[Senders]:
    """So many senders of so many meetings, at work until the end of the `async with`."""
    timeout = aiohttp.ClientTimeout(total=5.0)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        senders = Senders(history, rng, session, meetings)
        tasks = [asyncio.create_task(senders.work(), name=f"sender-{number}") for number in range(count)]
        try:
            yield senders
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [error for error in ended if isinstance(error, Exception)]
        assert not errors, errors
