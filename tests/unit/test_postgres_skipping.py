"""Where a sink's queue is looked through from, on PostgreSQL."""

from __future__ import annotations

from relay.stores.postgres.skipping import Look

NOW, SECOND = 1_800_000_000_000_000, 1_000_000


def looked(look: Look, now: int, *, oldest: int | None = None, passed: int = 100_000, full: bool = False) -> int:
    """From when on it looked; from the beginning it has passed so many."""
    since = look.begin(now)
    look.ended(since, now, oldest=oldest, passed=0 if since else passed, full=full)
    return since


def test_a_short_queue_is_always_looked_through_from_its_beginning() -> None:
    look = Look()
    assert [looked(look, NOW + n, passed=1_000) for n in range(5)] == [0] * 5


def test_after_a_long_way_what_is_left_is_looked_at() -> None:
    look = Look()
    assert looked(look, NOW, oldest=NOW - 100 * SECOND, full=True) == 0
    assert looked(look, NOW + 1, oldest=NOW - 90 * SECOND, full=True) == NOW - 100 * SECOND
    assert looked(look, NOW + 2, oldest=NOW - 80 * SECOND) == NOW - 90 * SECOND
    began = looked(look, NOW + 3)
    assert NOW - 10 * SECOND < began < NOW, "what other nodes are just committing may have come due a moment ago"


def test_now_and_then_all_is_looked_through() -> None:
    look = Look()
    looked(look, NOW)
    began = [looked(look, NOW + n * SECOND // 10) for n in range(60)]
    assert 1 <= began.count(0) <= 3
    looked(look, NOW + 20 * SECOND, passed=100)
    assert looked(look, NOW + 20 * SECOND + 1) == 0, "vacuum came through"


def test_what_comes_due_early_is_not_skipped() -> None:
    look = Look()
    looked(look, NOW)
    look.comes_due(NOW - 50 * SECOND)
    assert look.begin(NOW + 1) == NOW - 50 * SECOND


def test_a_look_that_the_server_gives_up_is_not_made_again_at_once() -> None:
    look = Look()
    look.failed(NOW)
    assert NOW - 10 * SECOND < look.begin(NOW + SECOND) < NOW
    assert look.begin(NOW + 6 * SECOND) == 0


def test_what_is_due_next_is_asked_for_when_it_is_past() -> None:
    look = Look()
    looked(look, NOW)
    look.next_known, look.next_due = True, NOW + SECOND
    looked(look, NOW + 1)
    assert look.next_known
    look.comes_due(NOW + 5)
    assert look.next_due == NOW + 5
    looked(look, NOW + 6)
    assert not look.next_known
