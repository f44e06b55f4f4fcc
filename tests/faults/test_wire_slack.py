"""A relay and a Slack that is away, throttles, refuses one message, or refuses all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from relay.model import GateState
from tests.fakes.slack import CHANNEL, TOKEN, WEBHOOK_PATH, Answer, FakeSlack, Refuse, Step
from tests.fakes.slack import Accept as Accepting
from tests.fakes.wire import Fault, Hanging, Refused, ResetAfter, ResetBefore, Wire
from tests.faults.scene import scene
from tests.running import Samples


@pytest.fixture
async def slack() -> AsyncIterator[FakeSlack]:
    async with FakeSlack() as running:
        yield running


def by_webhook(at: str, **options: Any) -> dict[str, Any]:
    return _sink(webhook_url=f"http://{at}{WEBHOOK_PATH}", **options)


def by_token(at: str, **options: Any) -> dict[str, Any]:
    return _sink(token=TOKEN, channel=CHANNEL, api_url=f"http://{at}/api/", **options)


def _sink(**options: Any) -> dict[str, Any]:
    return {"type": "slack", "text": "{{ number }}", "rate": "1000/s", **options}


def numbers(slack: FakeSlack) -> list[int]:
    """The events that appeared in the channel, in order."""
    return [int(message["text"]) for message in slack.messages]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [(Refused(), "connect"), (Hanging(), "timeout"), (ResetBefore(), "reset"), (ResetAfter(), "reset")],
    ids=repr,
)
async def test_a_fault_on_the_way(tmp_path: Path, slack: FakeSlack, fault: Fault, outcome: str) -> None:
    async with Wire(slack.port) as wire, scene(tmp_path, by_webhook(wire.address)) as here:
        await here.survives(wire, fault, outcome=outcome)
        here.has_numbers(numbers(slack))


@pytest.mark.parametrize("way", [by_webhook, by_token])
async def test_a_throttle_is_obeyed_and_meant_for_slack_alone(tmp_path: Path, slack: FakeSlack, way: Any) -> None:
    slack.default = Answer(429, "rate_limited", {"Retry-After": "30"})
    async with scene(tmp_path, way(f"127.0.0.1:{slack.port}", concurrency=2)) as here:
        await here.post(9)
        await here.others_go_on()
        await here.failed_with("throttled")
        await here.waits(9)
        metrics = Samples(await here.relay.metrics())
        assert 27 < metrics['relay_throttled_seconds_total{sink="ill"}'] < 33
        assert len(slack.requests) <= 2, "what was under way when it said so, and nothing after it"


@pytest.mark.parametrize(
    ("way", "step", "outcome", "state"),
    [
        (by_webhook, Refuse("no_service"), "not_found", GateState.PAUSED),
        (by_webhook, Refuse("channel_is_archived"), "gone", GateState.PAUSED),
        (by_token, Refuse("account_inactive"), "unauthorized", GateState.PAUSED),
        (by_token, Refuse("channel_not_found"), "not_found", GateState.PAUSED),
        (by_token, Refuse("a_code_of_tomorrow"), "refused", GateState.BROKEN),
        (by_webhook, Answer(200, "<html>log in to the hotel</html>"), "unavailable", GateState.BROKEN),
        (by_webhook, Answer(500, "rollup_error"), "unavailable", GateState.BROKEN),
    ],
)
async def test_a_slack_that_takes_nothing_keeps_its_backlog(
    tmp_path: Path, slack: FakeSlack, way: Any, step: Step, outcome: str, state: GateState
) -> None:
    slack.default = step
    async with scene(tmp_path, way(f"127.0.0.1:{slack.port}", retry={"base": "10ms", "max_attempts": 6})) as here:
        await here.post(9, meetings=9)
        await here.others_go_on()
        await here.is_in(state)
        await here.failed_with(outcome, 12)  # one event alone could not pay for it
        await here.waits(9)
        slack.default = Accepting()
        await here.recovers()
        here.has_numbers(numbers(slack))


@pytest.mark.parametrize("way", [by_webhook, by_token])
async def test_one_message_that_slack_refuses_is_dead_and_pauses_nothing(
    tmp_path: Path, slack: FakeSlack, way: Any
) -> None:
    slack.will(Refuse("invalid_payload"), Refuse("invalid_payload"))  # as it is, and as plain text
    async with scene(tmp_path, way(f"127.0.0.1:{slack.port}", order="none", concurrency=1)) as here:
        await here.post(1)
        await here.relay.settled("ill", 1)
        await here.is_in(GateState.OPEN)
        await here.post(9)
        await here.others_go_on()
        await here.relay.settled("ill", 10)
        metrics = Samples(await here.relay.metrics())
    assert metrics['relay_dead_total{reason="refused",sink="ill"}'] == 1
    assert metrics['relay_delivered_total{sink="ill"}'] == 9
    assert sorted(numbers(slack)) == list(range(1, 10))
