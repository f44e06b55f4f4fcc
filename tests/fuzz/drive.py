"""Sends inputs at a gateway, many connections at a time, and judges what comes back."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from relay.model import Acceptance, Admission
from tests.fakes.gateway import gateway_running
from tests.fuzz.grammar import genuine, request

CONNECTIONS = 32
_PATIENCE = 0.03
"""Seconds to wait for an answer: an input that is no whole request gets none until a deadline of the server."""
_HANG = 30.0
_HEAD = re.compile(rb"HTTP/\d\.\d+ (\d{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)(?:\r\n|\Z)", re.IGNORECASE)
_OUTCOME = re.compile(rb'\{"status":"(\w+)"')
PLANNED = {
    200: {"accepted"},
    400: {"malformed"},
    401: {"unsigned", "bad_signature"},
    404: {"not_found"},
    405: {"wrong_method"},
    413: {"too_large"},
    415: {"encoded"},
    503: {"broken", "slow"},
}
"""The answers that may come, by status."""


@dataclass(slots=True)
class Findings:
    """What a run saw."""

    answers: Counter[str] = field(default_factory=Counter)
    silent: int = 0
    """Inputs without an answer: closed, or not a whole request."""
    unplanned: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Input and answer."""
    hung: list[bytes] = field(default_factory=list)
    accepted: int = 0
    """Webhooks that the gateway took, whether their answers came in time to be read or not."""

    @property
    def total(self) -> int:
        """How many answers, or inputs without one, there were."""
        return self.answers.total() + self.silent


async def drive(port: int, *, count: int, seed: int, told: Callable[[Findings], None] = lambda _: None) -> Findings:
    """Send so many inputs."""
    pool = [genuine(b'{"event":"meeting.started","meeting":{"id":"m-%d"},"n":%d}' % (n % 7, n)) for n in range(50)]
    findings, rng = Findings(), Random(seed)
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            made = request(rng, pool)
            try:
                async with asyncio.timeout(_HANG):
                    judge(findings, made, await _exchange(port, made))
            except TimeoutError:
                findings.hung.append(made)
            told(findings)

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return findings


def judge(findings: Findings, made: bytes, told: bytes) -> None:
    """Sort what came back into what was planned and what was not."""
    rest, found = told, 0
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        match = _HEAD.match(head)
        if match is None:
            findings.unplanned.append((made, told))
            return
        if match[1] == b"100":
            continue
        sized = _LENGTH.search(head)
        length = int(sized[1]) if sized else 0
        body, rest = rest[:length], rest[length:]
        outcome = _OUTCOME.match(body)
        name = outcome[1].decode() if outcome else ""
        findings.answers[f"{match[1].decode()} {name}"] += 1
        found += 1
        if name not in PLANNED.get(int(match[1]), set()):
            findings.unplanned.append((made, told))
    findings.silent += not found


async def _exchange(port: int, made: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    told = b""
    try:
        with suppress(ConnectionError, TimeoutError):
            writer.write(made)
            async with asyncio.timeout(_PATIENCE):
                while piece := await reader.read(65536):
                    told += piece
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
    return told


class Forgetful:
    """An `Intake` that takes everything and keeps nothing but a count, so that what grows is the gateway's."""

    accepted = 0

    async def accept(self, admission: Admission) -> Acceptance:
        self.accepted += 1
        return Acceptance(event_id=admission.event.id)


async def run(count: int, seed: int, *, told: Callable[[Findings], None] = lambda _: None) -> tuple[Findings, int]:
    """A run against a gateway of its own; what it saw, and how many genuine webhooks were answered after it."""
    intake = Forgetful()
    async with gateway_running(intake) as gateway:
        findings = await drive(gateway.port, count=count, seed=seed, told=told)
        findings.accepted = intake.accepted
        answered = [(await gateway.post(_again(number))).status for number in range(20)]
    return findings, answered.count(200)


def _again(number: int) -> bytes:
    return b'{"event":"meeting.ended","n":%d}' % number
