"""An open loop of signed webhooks: each is sent when its time has come, however late the answers are.

A closed loop would send less while the relay is slow, and so hide what it wants to see (coordinated omission).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import aiohttp
import orjson

from relay.simulator import SimulatorKey

_MEETINGS = 200
_PAD = "x" * 600
_numbers = count()


@dataclass(frozen=True, slots=True)
class Signed:
    """A body and its headers."""

    body: bytes
    headers: dict[str, str]


def signed(key: SimulatorKey, amount: int) -> list[Signed]:
    """So many webhooks of about 1 KB, no two of the same body, uuid or signature."""
    return [_signed(key, next(_numbers)) for _ in range(amount)]


def _signed(key: SimulatorKey, number: int) -> Signed:
    meeting = {"id": f"meeting-{number % _MEETINGS}", "title": "Daily", "organizedBy": {"id": "organization"}}
    body = orjson.dumps({"event": "meeting.participantJoined", "meeting": meeting, "number": number, "pad": _PAD})
    headers = {
        "dyte-signature": key.sign(body),
        "dyte-uuid": f"uuid-{number}",
        "dyte-webhook-id": "registration",
        "content-type": "application/json",
    }
    return Signed(body=body, headers=headers)


@dataclass(slots=True)
class Answers:
    """What came back: how long each took from the moment at which it was due, in seconds, and the statuses."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    def percentile(self, share: float) -> float:
        """The time within which this share of the answers came."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def summary(self) -> str:
        """One line."""
        times = "  ".join(f"p{100 * share:g} {1000 * self.percentile(share):.1f} ms" for share in (0.5, 0.99, 0.999))
        return f"{len(self.seconds)} answers {dict(self.statuses)}  {times}  max {1000 * max(self.seconds):.1f} ms"


async def open_loop(
    session: aiohttp.ClientSession, url: str, webhooks: Sequence[Signed], *, per_second: float
) -> Answers:
    """Post these at this rate, and wait for the last answer; status 0 stands for a connection that broke."""
    loop, answers = asyncio.get_running_loop(), Answers()

    async def post(webhook: Signed, due: float) -> None:
        try:
            async with session.post(url, data=webhook.body, headers=webhook.headers) as response:
                await response.read()
                answers.statuses[response.status] += 1
        except (aiohttp.ClientError, TimeoutError):
            answers.statuses[0] += 1
        answers.seconds.append(loop.time() - due)

    async with asyncio.TaskGroup() as group:
        for webhook, due in zip(webhooks, _times(loop.time(), per_second), strict=False):
            if (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            group.create_task(post(webhook, due))
    return answers


def _times(start: float, per_second: float) -> Iterator[float]:
    return (start + number / per_second for number in count())
