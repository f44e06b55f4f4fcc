"""Thousands of forged webhooks: the genuine ones come through, the key is fetched once, and the log stays readable."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from time import monotonic

import pytest

from tests.fakes.http import Answer, FakeHttp
from tests.fakes.keys import PATH, SHAPES, key_pair
from tests.running import payload, relay_running, signed

FORGED, GENUINE, SENDERS = 3000, 150, 60


async def test_a_flood_of_forgeries_keeps_no_genuine_one_out(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.INFO)
    key = SHAPES["realtimekit"](key_pair().public_pem)
    async with FakeHttp(default=Answer(200, body=key, headers={"content-type": "application/json"})) as server:
        sources = {"dyte": {"public_key_url": server.url + PATH}}
        async with relay_running(tmp_path, sources=sources) as relay:
            assert (await relay.post(payload())).status == 200, "the key is there"
            started, numbers = monotonic(), iter(range(FORGED + GENUINE))
            forgery = signed(b"{}", key=key_pair("forger"))
            answers: list[tuple[bool, int]] = []

            async def send() -> None:
                for number in numbers:
                    genuine = number % (FORGED // GENUINE) == 0
                    given = payload(meeting=f"m-{number}")
                    answer = await (relay.post(given) if genuine else relay.post(b"{}", headers=forgery))
                    answers.append((genuine, answer.status))

            await asyncio.gather(*(send() for _ in range(SENDERS)))
            seconds = monotonic() - started
            metrics = await relay.metrics()
            fetched = len(server.requests)
    assert {status for genuine, status in answers if genuine} == {200}
    assert {status for genuine, status in answers if not genuine} == {401}
    refused = [record for record in caplog.records if record.message == "request.refused"]
    assert 1 <= len(refused) <= seconds + 1, "one line a second"
    told = sum(1 + record.__dict__["suppressed"] for record in refused)
    forged = sum(not genuine for genuine, _ in answers)
    assert told <= forged == metrics['relay_requests_total{outcome="bad_signature",source="dyte"}']
    assert fetched <= 1 + seconds // 60 + 1, "at the start, and then once a minute"
