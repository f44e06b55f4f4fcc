"""Keeping to a rate: never above it, over any schedule, and never starved."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.options import Rate
from relay.pace import Pace

RATES = st.builds(
    Rate,
    count=st.integers(1, 1000),
    per=st.sampled_from([timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)]),
)
STARTS = st.floats(0, 1e6)
STEPS = st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), max_size=40)


def burst(rate: Rate) -> float:
    return max(1.0, rate.per_second)


def test_without_a_rate_everything_may_go_at_once() -> None:
    pace = Pace(None)
    pace.took(10**6, 1.0)
    assert pace.allowance(1000, 1.0) == 1000
    assert pace.wait(1.0) == 0.0


@pytest.mark.parametrize(("text", "expected"), [("50/s", 50), ("1/s", 1), ("300/m", 5), ("30/m", 1), ("1/d", 1)])
def test_a_burst_is_one_seconds_worth_and_at_least_one(text: str, expected: int) -> None:
    assert Pace(Rate.parse(text)).allowance(10**6, 0.0) == expected
    rested = Pace(Rate.parse(text))
    rested.took(1, 0.0)
    assert rested.allowance(10**6, 10.0**6) == expected


def test_tokens_come_back_evenly() -> None:
    pace = Pace(Rate.parse("10/s"))
    pace.took(pace.allowance(100, 5.0), 5.0)
    assert [pace.allowance(100, 5.0 + tenths / 10) for tenths in (0.0, 0.5, 1.0, 1.5, 4.0, 30.0)] == [0, 0, 1, 1, 4, 10]


def test_the_wait_is_the_time_to_the_next_token() -> None:
    pace = Pace(Rate.parse("30/m"))
    assert pace.wait(7.0) == 0.0
    pace.took(1, 7.0)
    assert pace.wait(7.0) == pytest.approx(2.0)
    assert pace.wait(8.5) == pytest.approx(0.5)
    assert pace.wait(9.0) == 0.0


def test_not_more_is_allowed_than_was_wanted_and_nothing_is_taken_by_asking() -> None:
    pace = Pace(Rate.parse("10/s"))
    assert [pace.allowance(wanted, 0.0) for wanted in (0, 3, 10, 11)] == [0, 3, 10, 10]


@given(RATES, STARTS, STEPS)
def test_no_stretch_of_any_schedule_holds_more_than_a_burst_and_the_rate(
    rate: Rate, start: float, steps: list[tuple[float, int]]
) -> None:
    pace, now = Pace(rate), start
    went: list[tuple[float, int]] = []
    for later, wanted in steps:
        now += later
        allowed = pace.allowance(wanted, now)
        assert 0 <= allowed <= wanted
        pace.took(allowed, now)
        went.append((now, allowed))
    for first, (since, _) in enumerate(went):
        count = 0
        for until, allowed in went[first:]:
            count += allowed
            assert count <= burst(rate) + rate.per_second * (until - since) + 1e-3


@given(RATES, STARTS, STEPS)
def test_whatever_was_taken_after_the_wait_one_may_go(rate: Rate, start: float, steps: list[tuple[float, int]]) -> None:
    """Several lanes may share a pace, so that more is taken than any of them was allowed."""
    pace, now = Pace(rate), start
    for later, taken in steps:
        now += later
        pace.took(taken, now)
    for _ in range(3):  # the waiter rounds too
        if pace.allowance(1, now):
            break
        assert pace.wait(now) > 0.0
        now += pace.wait(now)
    assert pace.allowance(1, now) == 1


@given(RATES, st.integers(1, 500))
def test_what_was_taken_too_much_is_owed(rate: Rate, excess: int) -> None:
    pace = Pace(rate)
    taken = int(burst(rate)) + excess
    pace.took(taken, 1.0)
    assert pace.allowance(10, 1.0) == 0
    assert pace.wait(1.0) == pytest.approx((taken + 1 - burst(rate)) / rate.per_second)


@given(RATES)
def test_a_lane_that_always_wants_more_gets_the_whole_rate(rate: Rate) -> None:
    pace, now, count = Pace(rate), 1000.0, 0
    for _ in range(200):
        allowed = pace.allowance(10**9, now)
        pace.took(allowed, now)
        count += allowed
        now += pace.wait(now)
    assert count >= int(rate.per_second * (now - 1000.0)) - 1


def test_looking_often_earns_nothing() -> None:
    pace = Pace(Rate.parse("1/d"))
    pace.took(1, 0.0)
    for millisecond in range(1, 200_000):
        pace.allowance(1, millisecond / 1000)
    assert pace.wait(200.0) == pytest.approx(86_200, rel=1e-6)


def test_a_clock_that_turns_back_takes_nothing_away() -> None:
    pace = Pace(Rate.parse("5/s"))
    assert [pace.allowance(9, now) for now in (100.0, 50.0, 100.0)] == [5, 5, 5]


def test_a_clock_that_stands_still_or_turns_back_earns_nothing() -> None:
    pace = Pace(Rate.parse("1/s"))
    pace.took(1, 100.0)
    assert pace.allowance(1, 100.0) == 0
    assert pace.allowance(1, 50.0) == 0
    assert pace.wait(50.0) == pytest.approx(1.0)
    assert pace.wait(100.5) == pytest.approx(0.5)


def test_another_rate_holds_at_once_and_nothing_beyond_its_burst_is_left() -> None:
    pace = Pace(Rate.parse("10/s"))
    assert pace.allowance(20, now=100.0) == 10
    pace.change(Rate.parse("1/s"))
    assert pace.allowance(20, now=100.0) == 1
    pace.took(1, now=100.0)
    pace.change(Rate.parse("10/s"))
    assert pace.allowance(20, now=100.0) == 0
    pace.change(None)
    assert pace.allowance(20, now=100.0) == 20
