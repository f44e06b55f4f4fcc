from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from relay.sinks.slack.cards.words import MAX_NAME, duration, moment, name, said, size, stop_reason


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.4, "1 s"), (59.4, "59 s"), (59.9, "1 min"), (60, "1 min"), ("125", "2 min"), (3600, "1 h"), (3599, "1 h"),
        (86_400, "1 d"), (90_061, "1 d 1 h"), (86_460, "1 d 1 min"), (0, ""), (-1, ""), (None, ""), (True, ""),
        ("٣", ""), (float("nan"), ""), (float("inf"), ""), (10**400, ""), ("1e9", ""), ([], ""),
    ],
)  # fmt: skip
def test_durations_in_words(value: Any, expected: str) -> None:
    assert duration(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, "1 B"), (999, "999 B"), (1000, "1.0 kB"), ("2044680", "2.0 MB"), (123.45, "123 B"), (1.5e9, "1.5 GB"),
        (3e12, "3.0 TB"), (0, ""), ("12 MB", ""), (None, ""), (False, ""), (1e300, ""),
    ],
)  # fmt: skip
def test_sizes_in_words(value: Any, expected: str) -> None:
    assert size(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("{'reason':'API_CALL','caller':{'type':'ORGANIZATION'}}", "Stopped by an API call"),
        ('{"reason": "INTERNAL_ERROR"}', "An internal error"),
        ({"reason": "ALL_PEERS_LEFT"}, "Everyone left"),
        ("{'reason':'NEW_ONE'}", "New one"),
        ("ALL_PEERS_LEFT", ""),
        (None, ""),
    ],
)
def test_stop_reasons_in_words(value: Any, expected: str) -> None:
    assert stop_reason(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2023-04-14 04:46:08.306221Z", datetime(2023, 4, 14, 4, 46, 8, 306221, tzinfo=UTC)),
        ("2026-06-03T10:00:00.000Z", datetime(2026, 6, 3, 10, tzinfo=UTC)),
        ("2026-06-03T12:00:00+02:00", datetime(2026, 6, 3, 10, tzinfo=UTC)),
        ("2026-06-03T10:00:00", datetime(2026, 6, 3, 10, tzinfo=UTC)),
        ("9999-12-31T23:59:59-23:59", None),
        ("1970-01-01T00:00:00Z", None),
        ("soon", None),
        (1681447537, None),
    ],
)
def test_moments_in_both_formats(value: Any, expected: datetime | None) -> None:
    assert moment(value) == expected


def test_names_are_cut_cleaned_and_looked_for_in_order() -> None:
    assert len(said("x" * 5000)) == MAX_NAME
    assert said("Zoe\u202e \n\n O'Neil\0") == "Zoe O'Neil"
    assert said("see https://evil.example now") == "see (link) now"
    values: list[Any] = [12, 1.5, True, 10**400, {}]
    assert [said(value) for value in values] == ["12", "1.5", "", "", ""]
    assert name({"a": {"b": "\u200b"}, "c": "found"}, "a.b", "a.b.c", "c") == "found"
