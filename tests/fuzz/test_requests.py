"""20,000 inputs: no crash, no hang, no answer that was not planned, no traceback, nothing left behind."""

from __future__ import annotations

import asyncio
import logging
from random import SystemRandom

import pytest

from tests.fuzz.drive import Findings, judge, run
from tests.running import until

RUNS, EACH = 4, 5000


@pytest.mark.parametrize("number", range(RUNS))
async def test_whatever_comes_the_gateway_stays_what_it_is(number: int, caplog: pytest.LogCaptureFixture) -> None:
    seed = SystemRandom().randrange(1 << 32)
    print(f"python -m tests.fuzz --count {EACH} --seed {seed}  # run {number}")  # noqa: T201 - shown where it fails
    caplog.set_level(logging.WARNING)
    before = asyncio.all_tasks()
    findings, answered = await run(EACH, seed)
    assert findings.unplanned == []
    assert findings.hung == []
    assert findings.total >= EACH, "some connections carry several"
    assert answered == 20, "genuine webhooks are taken as before"
    assert findings.accepted > EACH / 50, "the grammar still writes what is genuine"
    assert not [record for record in caplog.records if record.exc_info]

    async def nothing_left() -> bool:
        return asyncio.all_tasks() == before

    await until(nothing_left, "end of all connections")  # what is left of a body is read for a second


@pytest.mark.parametrize(
    ("told", "planned"),
    [
        (b'HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"status":"accepted"}', True),
        (b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{"status":"accepted"}', True),
        (b"", True),
        (b'HTTP/1.1 503 x\r\nContent-Length: 18\r\n\r\n{"status":"error"}', False),
        (b'HTTP/1.1 500 x\r\nContent-Length: 18\r\n\r\n{"status":"error"}', False),
        (b"HTTP/1.1 400 x\r\nContent-Length: 4\r\n\r\nOops", False),
        (b'HTTP/1.1 401 x\r\nContent-Length: 21\r\n\r\n{"status":"accepted"}', False),
        (b"Traceback", False),
    ],
)
def test_the_judge_can_say_no(told: bytes, *, planned: bool) -> None:
    findings = Findings()
    judge(findings, b"input", told)
    assert (not findings.unplanned) is planned
