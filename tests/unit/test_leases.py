"""What a lane holds, and until when."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from relay.leases import Leases
from tests.build import delivery
from tests.fakes.admissions import NOON

LENGTH, NEEDED = timedelta(seconds=60), timedelta(seconds=10)
ONE, TWO = (replace(delivery(), id=number) for number in (1, 2))


def test_they_are_begun_in_the_order_of_their_claim_and_held_until_they_are_settled() -> None:
    leases = Leases(length=LENGTH, needed=NEEDED)
    leases.claimed([ONE], at=NOON)
    leases.claimed([TWO], at=NOON)
    assert (leases.waiting, leases.held) == (2, 2)
    assert [leases.next(), leases.next()] == [ONE, TWO]
    leases.settled(ONE)
    leases.settled(ONE)
    assert (leases.waiting, leases.held) == (0, 1)


def test_an_attempt_needs_what_is_left_of_its_lease() -> None:
    leases = Leases(length=LENGTH, needed=NEEDED)
    leases.claimed([ONE], at=NOON)
    assert leases.lasts(ONE, NOON + LENGTH - NEEDED)
    assert not leases.lasts(ONE, NOON + LENGTH - NEEDED + timedelta(microseconds=1))


def test_the_oldest_lease_tells_whether_one_has_run_out() -> None:
    leases = Leases(length=LENGTH, needed=NEEDED)
    assert not leases.outlived(NOON + LENGTH)
    leases.claimed([ONE], at=NOON)
    leases.claimed([TWO], at=NOON + NEEDED)
    assert not leases.outlived(NOON + LENGTH - timedelta(microseconds=1))
    assert leases.outlived(NOON + LENGTH)
    leases.settled(ONE)
    assert not leases.outlived(NOON + LENGTH)
