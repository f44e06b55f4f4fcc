"""Whose a place is, and what its pace makes of what others have sent: never above the rate, over any handover."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.options import Rate
from relay.pace import Pace
from relay.records import Grant
from relay.seat import Seat

TERM = timedelta(seconds=3)
RATES = st.sampled_from(["1/s", "5/s", "100/s", "1/m", "30/m"])


def seat(rate: str | None = "1/s") -> tuple[Seat, Pace]:
    pace = Pace(None if rate is None else Rate.parse(rate))
    return Seat("place", pace), pace


def test_without_a_limit_no_seat_is_needed() -> None:
    made, pace = seat(None)
    assert (made.needed, made.ours(0.0), made.unused(0.0)) == (False, True, 0.0)
    made.granted(Grant(alone=timedelta(0), lasts=TERM), asked=0.0, now=0.0)
    assert pace.allowance(1000, 1.0) == 1000
    pace.change(Rate.parse("1/s"))
    made.lost()
    assert (made.needed, made.ours(0.0)) == (True, False), "a reload gave it a limit"


def test_a_seat_is_ours_for_a_little_less_than_it_was_granted_for_from_when_it_was_asked_for() -> None:
    made, _ = seat()
    assert not made.ours(100.0)
    made.granted(Grant(lasts=TERM), asked=100.0, now=101.0)
    assert (made.ours(102.6), made.ours(102.8)) == (True, False)
    made.granted(Grant(lasts=TERM), asked=103.0, now=109.0)
    assert not made.ours(109.0), "the answer took longer than it lasts"


def test_where_nobody_else_can_be_it_is_ours_for_good() -> None:
    made, _ = seat()
    made.granted(Grant(), asked=100.0, now=100.0)
    made.doubt()
    assert made.ours(10.0**9)
    made.lost()
    assert not made.ours(100.0)


def test_a_clock_that_jumped_puts_it_in_doubt() -> None:
    made, _ = seat()
    made.granted(Grant(lasts=TERM), asked=100.0, now=100.0)
    made.doubt()
    assert not made.ours(100.0)


@pytest.mark.parametrize(("rate", "alone", "at_once"), [("1/s", 0.4, 0), ("5/s", 0.4, 2), ("5/s", 60.0, 5)])
def test_who_takes_over_has_only_what_was_saved_up_since(rate: str, alone: float, at_once: int) -> None:
    made, pace = seat(rate)
    made.granted(Grant(alone=timedelta(seconds=alone), lasts=TERM), asked=100.0, now=100.0)
    assert pace.allowance(1000, 100.0) == at_once


def test_who_had_it_all_the_time_goes_on_as_before() -> None:
    """Its own answers were late; nobody else has sent anything."""
    made, pace = seat("5/s")
    grant = Grant(alone=timedelta(hours=1), lasts=TERM)
    made.granted(grant, asked=0.0, now=0.0)
    pace.took(3, 0.0)
    made.granted(grant, asked=0.1, now=0.1)
    assert pace.allowance(1000, 0.1) == 2
    made.granted(grant, asked=60.0, now=60.0)
    assert pace.allowance(1000, 60.0) == 5


def test_a_renewal_takes_nothing_away() -> None:
    made, pace = seat("5/s")
    made.granted(Grant(alone=timedelta(0), lasts=TERM), asked=0.0, now=0.0)
    made.granted(Grant(alone=timedelta(0), lasts=TERM), asked=1.0, now=1.0)
    assert pace.allowance(1000, 1.0) == 5


def test_who_gives_it_up_hands_on_what_it_did_not_use() -> None:
    one, pace = seat("1/m")
    one.granted(Grant(), asked=0.0, now=0.0)
    assert one.unused(0.0) == 60.0
    pace.took(1, 0.0)
    assert one.unused(30.0) == pytest.approx(30.0)
    two, other = seat("1/m")
    two.granted(Grant(alone=timedelta(seconds=one.unused(30.0)), lasts=TERM), asked=30.0, now=30.0)
    assert (other.allowance(9, 59.0), other.allowance(9, 60.0)) == (0, 1)


@given(RATES, st.lists(st.tuples(st.integers(0, 2), st.floats(0, 40)), max_size=60))
def test_over_any_handovers_no_more_goes_than_by_one(rate: str, terms: list[tuple[int, float]]) -> None:
    """Each of three nodes takes all that it may whenever it has the seat, one after the other."""
    nodes, freed = [seat(rate) for _ in range(3)], [-1.0e9] * 3
    now, sent = 0.0, []
    for number, length in terms:
        made, pace = nodes[number]
        others = max(at for each, at in enumerate(freed) if each != number)
        made.granted(Grant(alone=timedelta(seconds=now - others), lasts=TERM), asked=now, now=now)
        allowed = pace.allowance(10**6, now)
        pace.took(allowed, now)
        sent.append((now, allowed))
        now += length
        freed[number] = now
        made.lost()
    per_second = Rate.parse(rate).per_second
    for start in range(len(sent)):
        for end in range(start, len(sent)):
            most = max(1.0, per_second) + per_second * (sent[end][0] - sent[start][0])
            assert sum(count for _, count in sent[start : end + 1]) <= most + 0.01
