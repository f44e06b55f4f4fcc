from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.sinks.slack.text import ELLIPSIS, clean, date, escape, fit, shorten, split, units

HOSTILE = st.text(st.sampled_from("&<>@ \n\t`*_~:|ab\u202e\u200b\u0000👋é\ud83d!#")) | st.text()
ENTITY = re.compile(r"&(amp|lt|gt);")


def assert_whole_entities(escaped: str) -> None:
    assert "&" not in ENTITY.sub("", escaped)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<!channel>", "&lt;!channel&gt;"),
        ("<https://evil.example|click>", "&lt;https://evil.example|click&gt;"),
        ("a & b &amp; c", "a &amp; b &amp;amp; c"),
        ("@here", "@\u200bhere"),
        ('it\'s "so"', 'it\'s "so"'),
    ],
)
def test_escape_disarms_links_and_mentions_exactly_once(text: str, expected: str) -> None:
    assert escape(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one\r\ntwo\u2028three", "one two three"),
        ("\u202eevil\u2066", "evil"),
        ("a\u0000b\u001b[31m", "ab[31m"),
        ("half \ud83d emoji", "half emoji"),
        ("\u200b\u3164 \ufeff", ""),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d💻", "👩\u200d💻"),
    ],
)
def test_clean_keeps_what_is_seen_on_one_line(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(HOSTILE)
def test_clean_text_is_one_encodable_line_and_stays_as_it_is(text: str) -> None:
    cleaned = clean(text)

    cleaned.encode()
    assert len(cleaned.splitlines()) <= 1
    assert clean(cleaned) == cleaned


@given(HOSTILE, st.integers(1, 60))
def test_fit_holds_its_limit_and_never_cuts_an_entity(text: str, limit: int) -> None:
    fitted = fit(text, limit)

    assert units(fitted) <= limit
    assert "<" not in fitted
    assert ">" not in fitted
    assert_whole_entities(fitted)


@given(HOSTILE)
def test_fit_changes_nothing_that_fits(text: str) -> None:
    assert fit(text, 10_000) == escape(text)


def test_fit_marks_a_cut() -> None:
    assert fit("a<b<c", 9) == "a&lt;b" + ELLIPSIS
    assert fit("👋👋", 3) == "👋" + ELLIPSIS


def test_shorten_marks_a_cut() -> None:
    assert shorten("a long name", 7) == "a long" + ELLIPSIS
    assert shorten("a name", 7) == "a name"


@given(HOSTILE.map(escape), st.integers(8, 60), st.integers(8, 200))
def test_split_holds_its_limits_and_never_cuts_an_entity(markup: str, size: int, total: int) -> None:
    pieces = split(markup, size=size, total=total)

    assert all(piece.strip() and units(piece) <= size for piece in pieces)
    assert sum(map(units, pieces)) <= total
    for piece in pieces:
        assert_whole_entities(piece)


@given(st.lists(st.sampled_from(["<https://e.example/x|link>", "&amp;", "word", "\n", " "])), st.integers(30, 60))
def test_split_loses_nothing_but_space_and_cuts_no_link(parts: list[str], size: int) -> None:
    pieces = split("".join(parts), size=size, total=10_000)

    assert "".join("".join(pieces).split()) == "".join("".join(parts).split())
    assert all(piece.count("<") == piece.count(">") for piece in pieces)


def test_split_prefers_the_end_of_a_line_then_of_a_word() -> None:
    assert split("first line\nsecond one", size=16) == ["first line", "second one"]
    assert split("some words here", size=12) == ["some words", "here"]


def test_split_marks_what_did_not_fit() -> None:
    assert split("abcdefghij", size=5, total=8) == ["abcde", "fg" + ELLIPSIS]
    assert split("<" + "x" * 50 + ">", size=10) == []
    assert split("  ") == []


def test_date_is_shown_in_the_readers_zone_with_utc_for_the_rest() -> None:
    moment = datetime(2022, 12, 13, 7, 57, 9, tzinfo=timezone(timedelta(hours=1)))

    assert date(moment) == "<!date^1670914629^{date_short_pretty} {time}|2022-12-13 06:57 UTC>"
    assert date(moment.astimezone(UTC)) == date(moment)
