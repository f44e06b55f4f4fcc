"""Senders that post signed webhooks for as long as they are let, and write down what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import aiohttp
import orjson

from relay.simulator import SimulatorKey
from tests.crash.history import History, Sent
from tests.fakes.keys import key_pair

MEETINGS = 20
_FORGED = 0.03
_TRIES = 4
_TYPES = ("meeting.started", "meeting.participantJoined", "recording.statusUpdate", "something.new")


class Senders:
    """All senders of one run. They pause while no relay is there."""

    def __init__(self, history: History, rng: Random, session: aiohttp.ClientSession) -> None:
        self._history = history
        self._rng = rng
        self._session = session
        self._url = ""
        self._there = asyncio.Event()

    def go_on(self, address: str) -> None:
        """Post to this relay."""
        self._url = f"http://{address}/webhooks/dyte"
        self._there.set()

    async def work(self) -> None:
        """Post one webhook after the other, each until it is acknowledged or was tried often enough."""
        while True:
            sent, headers = self._next()
            while not (sent.acknowledged or sent.refused[401]) and sent.unknown + sent.refused.total() < _TRIES:
                await self._there.wait()
                await self._post(sent, headers)

    def _next(self) -> tuple[Sent, dict[str, str]]:
        number, forged = len(self._history.sent), self._rng.random() < _FORGED
        meeting = {
            "id": f"meeting-{self._rng.randrange(MEETINGS)}",
            "title": "Täglich 👋",
        }
        payload = {"event": self._rng.choice(_TYPES), "number": number, "meeting": meeting, "pad": "é" * (number % 900)}
        sent = Sent(body=orjson.dumps(payload), forged=forged)
        self._history.sent.append(sent)
        return sent, _headers(sent.body, key_pair("forger") if forged else key_pair(), f"uuid-{number}")

    async def _post(self, sent: Sent, headers: dict[str, str]) -> None:
        try:
            async with self._session.post(self._url, data=sent.body, headers=headers) as response:
                answer = orjson.loads(await response.read())
        except aiohttp.ClientConnectorError:  # it never left: the relay is gone, and the next one has another address
            self._there.clear()
            return
        except (aiohttp.ClientError, TimeoutError, orjson.JSONDecodeError):
            sent.unknown += 1
            return
        if response.status == 200:
            sent.acknowledged.add(answer["id"])
        else:
            sent.refused[response.status] += 1


def _headers(body: bytes, key: SimulatorKey, uuid: str) -> dict[str, str]:
    return {
        "dyte-signature": key.sign(body),
        "dyte-uuid": uuid,
        "dyte-webhook-id": "registration",
        "content-type": "application/json",
    }


@asynccontextmanager
async def sending(history: History, rng: Random, count: int) -> AsyncIterator[Senders]:
    """So many senders, at work until the end of the `async with`."""
    timeout = aiohttp.ClientTimeout(total=5.0)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        senders = Senders(history, rng, session)
        tasks = [asyncio.create_task(senders.work(), name=f"sender-{number}") for number in range(count)]
        try:
            yield senders
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        errors = [error for error in ended if isinstance(error, Exception)]
        assert not errors, errors
