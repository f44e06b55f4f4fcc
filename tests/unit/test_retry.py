"""When to try again, and when to give up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Dead, Reason, Retry
from relay.options import RetryOptions
from relay.retry import backoff, decide
from tests.build import delivery, event

ACCEPTED = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
OPTIONS = RetryOptions()
DURATIONS = st.timedeltas(timedelta(0), timedelta(days=36500))
ANY_OPTIONS = st.builds(
    RetryOptions,
    base=DURATIONS,
    factor=st.floats(1, 10),
    cap=DURATIONS,
    max_attempts=st.integers(1, 100),
    max_age=DURATIONS,
)
WAITS = st.none() | st.timedeltas(timedelta(0), HOUR)
ERRORS = st.one_of(
    st.builds(Rejected, st.sampled_from(Reason), st.just("because")),
    st.builds(Misconfigured, st.sampled_from(Reason), st.just("because"), certain=st.booleans(), partly=st.booleans()),
    st.builds(Unavailable, st.sampled_from(Reason), st.just("because"), retry_after=WAITS),
)


class Longest(Random):
    """Draws the longest wait that is allowed."""

    def uniform(self, a: float, b: float) -> float:
        assert a == 0.0
        return b


def verdict(
    error: DeliveryError,
    *,
    tries: int = 1,
    age: timedelta = timedelta(0),
    options: RetryOptions = OPTIONS,
    crashes: int = 0,
) -> Retry | Dead:
    tried = delivery(tries=tries, attempt=tries + 7, event=event(received_at=ACCEPTED))
    return decide(options, tried, error, now=ACCEPTED + age, age=age, rng=Longest(), crashes=crashes)


def unavailable(**fields: timedelta) -> Unavailable:
    return Unavailable(Reason.TIMEOUT, "no answer", **fields)


@pytest.mark.parametrize("tries", [1, 19, 20, 500])
def test_a_rejected_event_is_dead_at_once(tries: int) -> None:
    error = Rejected(Reason.TOO_LARGE, "too big")
    assert verdict(error, tries=tries) == Dead(failure=error.failure)


@pytest.mark.parametrize(("tries", "seconds"), [(1, 1), (2, 2), (3, 4), (12, 2048), (13, 3600), (19, 3600)])
def test_a_failure_that_may_pass_is_counted_and_waited_for_twice_as_long_each_time(tries: int, seconds: int) -> None:
    error = unavailable()
    assert verdict(error, tries=tries) == Retry(failure=error.failure, at=ACCEPTED + timedelta(seconds=seconds))


@pytest.mark.parametrize("error", [unavailable(), Misconfigured(Reason.NOT_FOUND, "404", certain=False)])
def test_the_last_attempt_is_the_one_that_the_options_name(error: DeliveryError) -> None:
    options = RetryOptions(max_attempts=3)
    assert isinstance(verdict(error, tries=2, options=options), Retry)
    for tries in (3, 4):
        ended = verdict(error, tries=tries, options=options)
        assert isinstance(ended, Dead)
        assert ended.failure.reason is Reason.EXHAUSTED
        assert error.failure.detail in ended.failure.detail
        assert error.failure.reason in ended.failure.detail
        assert f"{tries} attempts" in ended.failure.detail


def test_an_event_dies_when_its_next_attempt_would_come_too_late() -> None:
    options = RetryOptions(base=HOUR, cap=HOUR, max_age=timedelta(hours=72))
    assert isinstance(verdict(unavailable(), age=timedelta(hours=71), options=options), Retry)
    ended = verdict(unavailable(), age=timedelta(hours=71, seconds=1), options=options)
    assert isinstance(ended, Dead)
    assert ended.failure.reason is Reason.EXPIRED
    assert "timeout: no answer" in ended.failure.detail


@pytest.mark.parametrize("tries", [1, 20, 500])
def test_the_wait_that_a_sink_asks_for_is_kept_and_burns_no_attempt(tries: int) -> None:
    error = unavailable(retry_after=timedelta(minutes=5))
    expected = Retry(failure=error.failure, at=ACCEPTED + timedelta(seconds=301), counted=False)
    assert verdict(error, tries=tries) == expected


def test_a_sink_cannot_put_an_event_off_for_ever() -> None:
    ended = verdict(unavailable(retry_after=HOUR), age=timedelta(hours=72))
    assert isinstance(ended, Dead)
    assert ended.failure.reason is Reason.EXPIRED


@pytest.mark.parametrize("tries", [1, 20, 500])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=400)])
def test_a_sink_that_waits_for_a_person_keeps_its_backlog(tries: int, age: timedelta) -> None:
    error = Misconfigured(Reason.UNKNOWN_TOPIC, "no such topic")
    decided = verdict(error, tries=tries, age=age)
    assert isinstance(decided, Retry)
    assert not decided.counted
    assert decided.at > ACCEPTED + age


def test_an_event_that_one_sink_alone_of_all_refuses_is_not_tried_for_ever() -> None:
    decided = verdict(Misconfigured(Reason.NOT_FOUND, "404", certain=False))
    assert isinstance(decided, Retry)
    assert decided.counted


@pytest.mark.parametrize(("tries", "seconds"), [(1, 128), (4, 1024), (6, 3600), (500, 3600)])
@pytest.mark.parametrize("age", [timedelta(0), timedelta(days=400)])
def test_what_waits_for_one_topic_of_several_burns_nothing_and_waits_longer_each_time(
    tries: int, seconds: int, age: timedelta
) -> None:
    """No gate holds these back; without a longer wait they would be tried every second for days."""
    error = Misconfigured(Reason.UNKNOWN_TOPIC, "no such topic", partly=True)
    expected = Retry(failure=error.failure, at=ACCEPTED + age + timedelta(seconds=seconds), counted=False)
    assert verdict(error, tries=tries, age=age) == expected


def test_what_waits_for_one_topic_of_several_is_never_tried_without_a_pause() -> None:
    error = Misconfigured(Reason.UNKNOWN_TOPIC, "no such topic", partly=True)
    decided = verdict(error, options=RetryOptions(base=timedelta(0)))
    assert isinstance(decided, Retry)
    assert decided.at == ACCEPTED + timedelta(seconds=1)


def test_an_event_that_crashed_three_times_is_dead_whatever_attempts_it_has_left() -> None:
    crash = Unavailable(Reason.POISON, "KeyError inside the relay")
    decided = [verdict(crash, tries=tries, crashes=tries) for tries in (1, 2, 3)]
    assert [type(each) for each in decided] == [Retry, Retry, Dead]
    assert decided[2].failure.reason is Reason.POISON
    assert "3 attempts crashed" in decided[2].failure.detail
    assert "KeyError" in decided[2].failure.detail


def test_failures_that_are_no_crashes_do_not_make_a_poison() -> None:
    crash = Unavailable(Reason.POISON, "KeyError inside the relay")
    assert isinstance(verdict(crash, tries=9, crashes=2), Retry)
    ended = verdict(crash, tries=20, crashes=2)
    assert isinstance(ended, Dead)
    assert ended.failure.reason is Reason.EXHAUSTED


@given(ANY_OPTIONS, ERRORS, st.integers(0, 10**6), DURATIONS, st.integers())
def test_every_decision_is_total_and_never_in_the_past(
    options: RetryOptions, error: DeliveryError, tries: int, age: timedelta, seed: int
) -> None:
    now = ACCEPTED + age
    tried = delivery(tries=tries, event=event(received_at=ACCEPTED))
    decided = decide(options, tried, error, now=now, age=age, rng=Random(seed))
    if isinstance(decided, Retry):
        assert decided.at >= now
        assert decided.failure == error.failure
        asked = error.retry_after if isinstance(error, Unavailable) and error.retry_after else timedelta(0)
        longest = max(options.cap, timedelta(seconds=1)) if _partly(error) else options.cap
        assert now + asked <= decided.at <= now + asked + longest
        assert not isinstance(error, Rejected)
    else:
        assert not (isinstance(error, Misconfigured) and error.certain)
        assert not _partly(error)


def _partly(error: DeliveryError) -> bool:
    return isinstance(error, Misconfigured) and error.partly


@given(ANY_OPTIONS, st.integers(-5, 10**9), st.integers())
def test_a_wait_lies_between_zero_and_its_bound_and_its_bound_below_the_cap(
    options: RetryOptions, tries: int, seed: int
) -> None:
    longest = backoff(options, tries, Longest())
    assert timedelta(0) <= backoff(options, tries, Random(seed)) <= longest <= options.cap
    assert longest <= backoff(options, tries + 1, Longest())


@pytest.mark.parametrize("tries", [-1, 0, 1])
def test_the_first_wait_is_bound_by_the_base(tries: int) -> None:
    assert backoff(RetryOptions(base=timedelta(seconds=3)), tries, Longest()) == timedelta(seconds=3)


def test_a_base_above_the_cap_is_the_cap() -> None:
    assert backoff(RetryOptions(base=HOUR, cap=timedelta(minutes=1)), 1, Longest()) == timedelta(minutes=1)


def test_waits_are_spread_over_the_whole_of_their_range() -> None:
    rng = Random(7)
    drawn = [backoff(OPTIONS, 5, rng) / timedelta(seconds=16) for _ in range(4000)]
    quarters = [sum(low <= part < low + 0.25 for part in drawn) for low in (0.0, 0.25, 0.5, 0.75)]
    assert all(900 < count < 1100 for count in quarters)
