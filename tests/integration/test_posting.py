"""The simulator's sender: as Dyte's, and honest about what came back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay.simulator import SimulatedWebhook, simulate
from relay.simulator import posting as sending
from relay.simulator.posting import NO_ANSWER, Report, post_all
from tests.fakes.http import Answer, FakeHttp, Hang, Reset
from tests.fakes.keys import key_pair
from tests.running import relay_running

TAKEN = Answer(200, b'{"status":"accepted","id":"e-1"}')
KNOWN = Answer(200, b'{"status":"duplicate","id":"e-1"}')
BUSY = Answer(503, b'{"status":"store"}', {"retry-after": "2"})


@pytest.fixture(autouse=True)
def _soon_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "RETRY_PAUSE", 0.0)


def webhooks(count: int | None = None, **more: object) -> Iterator[SimulatedWebhook]:
    made = simulate(key_pair(), seed="posting", **more)  # type: ignore[arg-type]
    return made if count is None else iter([next(made) for _ in range(count)])


async def test_what_is_posted_is_taken_by_a_relay(tmp_path: Path) -> None:
    given = list(webhooks(meetings=3, duplicates=0.3))
    first = [webhook for webhook in given if not webhook.repeat]
    async with relay_running(tmp_path) as relay:
        report = await post_all(iter(given), urls=f"{relay.base}/webhooks/dyte")
        await relay.drained()
        assert report.outcomes == {"accepted": len(first), "duplicate": len(given) - len(first)}
        records = await relay.app.store.events(limit=10_000)
        assert sorted(record.event.id for record in records) == sorted(report.accepted)
        assert sorted(record.event.body for record in records) == sorted(webhook.body for webhook in first)
    assert report.failed == 0
    assert report.posted == len(report.seconds) == len(given)
    assert 0 < report.percentile(0.5) <= report.percentile(1)


async def test_a_meeting_is_posted_in_its_order_whatever_the_concurrency() -> None:
    given = list(webhooks(meetings=6))
    wanted, found = defaultdict(list), defaultdict(list)
    meetings = {webhook.body: webhook.meeting for webhook in given}
    async with FakeHttp(default=TAKEN) as receiver:
        await post_all(iter(given), urls=receiver.url, concurrency=4)
        for webhook in given:
            wanted[webhook.meeting].append(webhook.body)
        for request in receiver.requests:
            found[meetings[request.body]].append(request.body)
    assert found == wanted
    assert len(wanted) == 6


async def test_each_header_family_goes_to_its_address() -> None:
    both = [*webhooks(2), *webhooks(2, provider="realtimekit")]
    async with FakeHttp(default=TAKEN) as receiver:
        await post_all(iter(both), urls={"dyte": f"{receiver.url}/d", "rtk": f"{receiver.url}/r"})
        places = {(request.path, "rtk-signature" in request.headers) for request in receiver.requests}
    assert places == {("/d", False), ("/r", True)}


async def test_a_5xx_and_a_broken_connection_are_tried_again() -> None:
    async with FakeHttp(default=TAKEN) as receiver:
        receiver.will(BUSY, Reset(), KNOWN)
        report = await post_all(webhooks(1), urls=receiver.url)
        assert len({request.body for request in receiver.requests}) == 1
    assert (report.outcomes, report.posted, report.failed) == ({"duplicate": 1}, 3, 0)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 405, 413, 429])
async def test_other_answers_are_final(status: int) -> None:
    async with FakeHttp(default=Answer(status, TAKEN.body)) as receiver:
        report = await post_all(webhooks(3), urls=receiver.url)
        assert len(receiver.requests) == 3
    assert (report.outcomes, report.failed, report.given_up) == ({str(status): 3}, 3, False)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"status":"fine"}', b'{"status":"accepted"}', b"\xff", b""])
async def test_200_from_somebody_else_is_no_success(body: bytes) -> None:
    async with FakeHttp(default=Answer(200, body)) as receiver:
        report = await post_all(webhooks(1), urls=receiver.url)
    assert (report.outcomes, report.failed, report.accepted) == ({"200": 1}, 1, [])


@pytest.mark.parametrize("step", [Reset(), BUSY])
async def test_where_nothing_is_taken_it_does_not_try_everything(step: Reset | Answer) -> None:
    async with FakeHttp(default=step) as receiver:
        report = await post_all(webhooks(meetings=2), urls=receiver.url, concurrency=1, retries=2)
        assert len(receiver.requests) == 3
    outcome = NO_ANSWER if isinstance(step, Reset) else "503"
    assert (report.outcomes, report.given_up) == ({outcome: 1}, True)


async def test_once_something_was_taken_everything_is_tried() -> None:
    async with FakeHttp(default=BUSY) as receiver:
        receiver.will(TAKEN)
        report = await post_all(webhooks(4), urls=receiver.url, retries=1)
    assert (report.outcomes, report.given_up) == ({"accepted": 1, "503": 3}, False)


async def test_no_answer_in_the_senders_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "SENDER_TIMEOUT", 0.2)
    async with FakeHttp(default=Hang()) as receiver:
        report = await post_all(webhooks(1), urls=receiver.url, retries=0)
    assert (report.outcomes, report.seconds) == ({NO_ANSWER: 1}, [])
    assert report.percentile(0.99) == 0.0


async def test_the_rate_is_kept() -> None:
    loop = asyncio.get_running_loop()
    async with FakeHttp(default=TAKEN) as receiver:
        started = loop.time()
        report = await post_all(webhooks(11), urls=receiver.url, rate=50)
        assert loop.time() - started >= 10 / 50
    assert report.outcomes == {"accepted": 11}


async def test_somebody_is_told_after_each() -> None:
    seen: list[int] = []

    def told(report: Report) -> None:
        seen.append(sum(report.outcomes.values()))

    async with FakeHttp(default=TAKEN) as receiver:
        await post_all(webhooks(5), urls=receiver.url, told=told)
    assert seen == [1, 2, 3, 4, 5]
