"""What a service's answer means, row by row of the contract, and how long it may ask us to wait."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import Misconfigured, Rejected, Unavailable
from relay.model import Reason
from relay.sinks.http import MAX_RETRY_AFTER, outcome, parse_retry_after

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 226, 299])
def test_2xx_is_delivered(status: int) -> None:
    assert outcome(status, None, now=NOW) is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (408, Reason.TIMEOUT),
        (425, Reason.UNAVAILABLE),
        (429, Reason.THROTTLED),
        (500, Reason.UNAVAILABLE),
        (501, Reason.UNAVAILABLE),
        (502, Reason.UNAVAILABLE),
        (503, Reason.UNAVAILABLE),
        (504, Reason.UNAVAILABLE),
        (507, Reason.UNAVAILABLE),
        (599, Reason.UNAVAILABLE),
        (999, Reason.UNAVAILABLE),
        # not in the contract, so nobody's fault for sure: retried
        (402, Reason.REFUSED),
        (409, Reason.REFUSED),
        (418, Reason.REFUSED),
        (451, Reason.REFUSED),
        (499, Reason.REFUSED),
        (199, Reason.REFUSED),
    ],
)
def test_what_may_pass_is_retried_when_the_service_says(status: int, reason: Reason) -> None:
    failure = outcome(status, "7", now=NOW)
    assert isinstance(failure, Unavailable)
    assert failure.failure.reason is reason
    assert str(status) in failure.failure.detail
    assert failure.retry_after == timedelta(seconds=7)
    without = outcome(status, None, now=NOW)
    assert isinstance(without, Unavailable)
    assert without.retry_after is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [(400, Reason.REFUSED), (413, Reason.TOO_LARGE), (415, Reason.REFUSED), (422, Reason.REFUSED)],
)
def test_what_is_the_events_fault_ends_the_event(status: int, reason: Reason) -> None:
    failure = outcome(status, "7", now=NOW)
    assert isinstance(failure, Rejected)
    assert failure.failure.reason is reason
    assert str(status) in failure.failure.detail


@pytest.mark.parametrize(
    ("status", "reason", "certain"),
    [
        (410, Reason.GONE, True),
        (401, Reason.UNAUTHORIZED, False),
        (403, Reason.UNAUTHORIZED, False),
        (404, Reason.NOT_FOUND, False),
        (405, Reason.NOT_FOUND, False),
        (300, Reason.REDIRECT, False),
        (301, Reason.REDIRECT, False),
        (302, Reason.REDIRECT, False),
        (304, Reason.REDIRECT, False),
        (307, Reason.REDIRECT, False),
        (308, Reason.REDIRECT, False),
        (399, Reason.REDIRECT, False),
    ],
)
def test_what_is_the_sinks_fault_pauses_it_at_once_or_after_three(
    status: int, reason: Reason, *, certain: bool
) -> None:
    failure = outcome(status, "7", now=NOW)
    assert isinstance(failure, Misconfigured)
    assert failure.failure.reason is reason
    assert failure.certain is certain
    assert str(status) in failure.failure.detail


@given(st.integers(100, 999), st.none() | st.text())
def test_every_status_means_something(status: int, retry_after: str | None) -> None:
    failure = outcome(status, retry_after, now=NOW)
    assert (failure is None) == (200 <= status < 300)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1", 1),
        ("120", 120),
        ("  120\t", 120),
        ("3600", 3600),
        ("0000000000000000000120", 120),
        # more than an hour is an hour
        ("3601", 3600),
        ("99999999999", 3600),
        ("9" * 5000, 3600),
        # HTTP dates, in all three forms, and the zones that mail has
        ("Mon, 23 Nov 2026 12:02:00 GMT", 120),
        ("Monday, 23-Nov-26 12:02:00 GMT", 120),
        ("Mon Nov 23 12:02:00 2026", 120),
        ("Mon, 23 Nov 2026 13:02:00 +0100", 120),
        ("Mon, 23 Nov 2026 12:02:00 -0000", 120),
        ("Mon, 23 Nov 2026 12:02:00", 120),
        ("Mon, 23 Nov 2026 14:00:00 GMT", 3600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3600),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 3600),
    ],
)
def test_a_sane_wait_is_honoured_and_a_long_one_clamped(text: str, seconds: int) -> None:
    assert parse_retry_after(text, now=NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "   ",
        "0",
        "000",
        "-1",
        "+1",
        "1.5",
        "1e3",
        "1_0",
        "0x10",
        "soon",
        "٣",
        "１２",
        "²",
        "Mon, 23 Nov 2026 12:00:00 GMT",  # now
        "Mon, 23 Nov 2026 11:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Fri, 31 Dec 10000 00:00:00 GMT",
        "Fri, 32 Dec 2026 00:00:00 GMT",
        "Fri, 31 Dec 2026 25:00:00 GMT",
        "Fri, 31 Dec 2026 00:00:00 +9999999999999999999",
        "2026-11-23T13:00:00Z",
        ",",
        "\ud800",
        "1\x00",
    ],
)
def test_anything_else_is_no_wait(text: str | None) -> None:
    assert parse_retry_after(text, now=NOW) is None


def test_a_date_without_a_zone_is_in_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        assert parse_retry_after("Mon, 23 Nov 2026 12:02:00", now=NOW) == timedelta(minutes=2)
    finally:
        monkeypatch.undo()
        time.tzset()


_DATE_WORDS = st.sampled_from(
    ["Mon", ",", " ", "23", "Nov", "2026", "99", "12:00:00", ":", "GMT", "-", "+", "+9999", "0"]
)


@given(st.text() | st.lists(_DATE_WORDS, max_size=12).map(" ".join))
def test_whatever_is_asked_the_wait_is_none_or_between_zero_and_an_hour(text: str) -> None:
    wait = parse_retry_after(text, now=NOW)
    assert wait is None or timedelta(0) < wait <= MAX_RETRY_AFTER
