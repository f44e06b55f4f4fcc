"""Wall time is told as it is; steady time never goes back; what a jump has skipped makes nothing older."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.clock import JUMP, SystemClock
from tests.fakes.clock import FakeClock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR, MINUTE, NONE = timedelta(hours=1), timedelta(minutes=1), timedelta(0)


def jumps_of(clock: SystemClock) -> list[timedelta]:
    told: list[timedelta] = []
    clock.on_jump(told.append)
    return told


def test_the_real_one_tells_the_time() -> None:
    clock = SystemClock()
    jumps = jumps_of(clock)
    before, now, after = datetime.now(UTC), clock.now(), datetime.now(UTC)
    assert before <= now <= after
    assert now <= clock.steady() <= datetime.now(UTC) + timedelta(seconds=1)
    assert jumps == []


def test_a_clock_set_back_leaves_steady_time_where_it_is() -> None:
    clock = FakeClock(NOON)
    jumps = jumps_of(clock)
    clock.jump(hours=-1)
    assert (clock.now(), clock.steady()) == (NOON - HOUR, NOON)
    clock.advance(minutes=1)
    assert (clock.now(), clock.steady()) == (NOON - HOUR + MINUTE, NOON + MINUTE), "it goes on meanwhile"
    clock.jump(hours=1)
    assert (clock.now(), clock.steady()) == (NOON + MINUTE, NOON + MINUTE), "and the other has caught up"
    assert jumps == [-HOUR, HOUR]


def test_a_clock_set_forward_takes_steady_time_along() -> None:
    clock = FakeClock(NOON)
    jumps = jumps_of(clock)
    clock.jump(hours=1)
    assert (clock.now(), clock.steady()) == (NOON + HOUR, NOON + HOUR)
    clock.jump(hours=-1)
    assert (clock.now(), clock.steady()) == (NOON, NOON + HOUR)
    assert jumps == [HOUR, -HOUR]


@pytest.mark.parametrize("seconds", [5.0, -5.0, 0.1])
def test_drift_is_no_jump(seconds: float) -> None:
    clock = FakeClock(NOON)
    jumps = jumps_of(clock)
    clock.jump(seconds=seconds)
    clock.advance(hours=1)
    assert clock.age(NOON) == HOUR + timedelta(seconds=seconds)
    assert jumps == []


def test_hours_that_pass_unseen_are_no_jump() -> None:
    clock = FakeClock(NOON)
    jumps = jumps_of(clock)
    clock.advance(hours=9)
    assert (clock.steady(), clock.age(NOON), jumps) == (NOON + 9 * HOUR, 9 * HOUR, [])


def test_what_is_skipped_makes_nothing_older() -> None:
    clock = FakeClock(NOON)
    clock.advance(hours=1)
    clock.jump(days=365)
    assert clock.age(NOON) == HOUR
    clock.advance(hours=1)
    assert clock.age(NOON) == 2 * HOUR
    assert clock.age(clock.now() - MINUTE) == MINUTE, "what came later is as old as it looks"
    assert clock.ago(2 * HOUR) == NOON
    assert clock.ago(MINUTE) == clock.now() - MINUTE


def test_what_was_skipped_and_then_lived_through_counts() -> None:
    """Set forward by mistake, and back: the hours in between do pass after all."""
    clock = FakeClock(NOON)
    clock.jump(hours=5)
    clock.now()
    clock.jump(hours=-5)
    clock.now()
    clock.advance(hours=6)
    assert clock.age(NOON) == 6 * HOUR
    assert clock.ago(6 * HOUR) == NOON


def test_to_1970_and_back() -> None:
    clock = FakeClock(NOON)
    clock.set(EPOCH)
    assert clock.steady() == NOON
    clock.advance(minutes=1)
    at_epoch = clock.now()
    clock.advance(minutes=1)
    clock.set(NOON + 2 * MINUTE)
    assert clock.steady() == NOON + 2 * MINUTE
    assert clock.age(at_epoch) == MINUTE
    assert NONE <= clock.age(NOON) <= 2 * MINUTE


def test_many_jumps_take_no_memory() -> None:
    clock = FakeClock(NOON)
    for _ in range(1000):
        clock.jump(seconds=10)
        clock.now()
    assert len(clock._skips) < 100


MOVES = st.lists(st.tuples(st.sampled_from(["advance", "jump"]), st.integers(-(10**6), 10**6)), max_size=20)


@given(MOVES, st.integers(0, 10**6))
def test_whatever_it_does(moves: list[tuple[str, int]], before: int) -> None:
    """Steady time follows time that passes, and an event never looks older than it is."""
    clock = FakeClock(NOON)
    since, passed, steady = clock.now(), 0, clock.steady()
    for kind, seconds in moves:
        if kind == "jump":
            clock.jump(seconds=seconds)
            assert clock.steady() >= steady
        else:
            clock.advance(seconds=abs(seconds))
            passed += abs(seconds)
            assert clock.steady() >= steady + timedelta(seconds=abs(seconds)) - timedelta(milliseconds=1)
        steady = clock.steady()
        assert steady >= clock.now()
        small = JUMP * len(moves)
        assert clock.age(since) <= timedelta(seconds=passed) + small
        assert clock.age(since - timedelta(seconds=before)) <= timedelta(seconds=passed + before) + small


# By the store's clock


def test_once_corrected_steady_time_is_the_stores_whatever_the_wall_clock_does() -> None:
    clock = FakeClock(NOON)
    clock.correct(-MINUTE)
    assert (clock.now(), clock.steady()) == (NOON, NOON - MINUTE)
    clock.advance(hours=1)
    assert clock.steady() == NOON + HOUR - MINUTE
    for hours in (5, -9):
        clock.jump(hours=hours)
        assert clock.steady() == NOON + HOUR - MINUTE


def test_a_small_correction_back_lets_it_stand_still() -> None:
    clock = FakeClock(NOON)
    clock.correct(NONE)
    clock.correct(timedelta(seconds=-3))
    seen = []
    for _ in range(4):
        clock.advance(seconds=1)
        seen.append(clock.steady() - NOON)
    assert seen == [NONE, NONE, NONE, timedelta(seconds=1)]
    clock.correct(timedelta(seconds=-3))
    clock.correct(timedelta(seconds=2))
    clock.advance(seconds=1)
    assert clock.steady() == NOON + timedelta(seconds=4)


def test_where_the_stores_clock_was_set_back_it_goes_back_as_that_of_all_nodes() -> None:
    clock = FakeClock(NOON)
    clock.correct(NONE)
    clock.correct(-HOUR)
    assert clock.steady() == NOON - HOUR


@pytest.mark.parametrize("ahead", [HOUR, -HOUR, NONE])
def test_what_is_written_down_for_now_is_due_by_every_nodes_clock(ahead: timedelta) -> None:
    clock = FakeClock(NOON)
    clock.correct(-ahead)
    assert clock.stamp() == min(NOON, NOON - ahead)
    clock.advance(minutes=1)
    assert clock.stamp() <= clock.steady()


def test_it_is_doubtful_from_a_jump_until_it_is_compared_again() -> None:
    clock, found = FakeClock(NOON), []
    for correct in (False, True, False, True):
        clock.jump(hours=1)
        clock.now()
        if correct:
            clock.correct(NONE)
        found.append(clock.doubtful)
    assert found == [False, False, True, False], "at first it goes by no other clock"
