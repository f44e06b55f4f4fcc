"""The units of relay.yaml, and what every Options model promises."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from relay.options import (
    Duration,
    JmesPath,
    LaneOptions,
    Options,
    Rate,
    RetryOptions,
    Secret,
    Size,
    Unfit,
    format_duration,
    format_size,
    parse_duration,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("1.5s", 1.5),
        ("5m", 300),
        ("2h", 7200),
        ("7d", 604800),
        ("0", 0),
        (0, 0),
        ("0s", 0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "5", 5, "s", "-1s", "1 s", "1S", "1w", "1s ", "1s\n", "1e3s", "٣s", None, True, "1.s", "9" * 30 + "s"]
)
def test_other_texts_are_no_durations(text: object) -> None:
    with pytest.raises(Unfit, match="is not a duration; write it like 500ms, 10s, 5m, 2h or 7d"):
        parse_duration(text)


def test_a_duration_ends_at_a_century() -> None:
    assert parse_duration("36500d") == timedelta(days=36500)
    with pytest.raises(Unfit, match="longer than a century"):
        parse_duration("36501d")


@given(milliseconds=st.integers(min_value=0, max_value=10**12))
def test_a_duration_is_read_as_it_is_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


def test_a_duration_is_written_in_its_largest_whole_unit() -> None:
    texts = ("500ms", "10s", "90s", "5m", "2h", "36h", "7d", "0")
    assert [format_duration(parse_duration(text)) for text in texts] == list(texts)
    assert format_duration(timedelta(hours=72)) == "3d"


@pytest.mark.parametrize(
    ("text", "size"), [("64KiB", 65536), ("1MiB", 1048576), ("2GiB", 2 * 1024**3), ("5B", 5), ("7", 7), (7, 7), (0, 0)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1MB", "1Mib", "1.5MiB", "-1", -1, True, None, "1 MiB", "1KiB\n", "٣B", "9" * 30])
def test_other_texts_are_no_sizes(text: object) -> None:
    with pytest.raises(Unfit, match="is not a size; write it like 64KiB or 1MiB"):
        parse_size(text)


@given(size=st.integers(min_value=0, max_value=10**15))
def test_a_size_is_read_as_it_is_written(size: int) -> None:
    assert parse_size(format_size(size)) == size


def test_a_size_is_written_in_its_largest_whole_unit() -> None:
    texts = ("0B", "1B", "1023B", "1KiB", "1536KiB", "1MiB", "3GiB")
    assert [format_size(parse_size(text)) for text in texts] == list(texts)


@pytest.mark.parametrize(("text", "per_second"), [("1/s", 1), ("300/m", 5), ("7200/h", 2), ("86400/d", 1)])
def test_rates(text: str, per_second: float) -> None:
    rate = Rate.parse(text)
    assert rate.per_second == per_second
    assert str(rate) == text
    assert Rate.parse(rate) is rate


@pytest.mark.parametrize("text", ["", "1", "1/", "0/s", "-1/s", "1/ms", "1.5/s", "1 / s", 5, None, "1/s\n"])
def test_other_texts_are_no_rates(text: object) -> None:
    with pytest.raises(Unfit, match="is not a rate; write it like 1/s or 300/m"):
        Rate.parse(text)


def test_unfit_tells_with_and_without_the_value() -> None:
    error = Unfit("is not it", shown="'x'")
    assert (str(error), error.what) == ("'x' is not it", "is not it")
    assert str(Unfit("is not it")) == "is not it"


class Sample(Options):
    """One of everything."""

    duration: Duration = timedelta(0)
    size: Size = 0
    expression: JmesPath | None = None
    secret: Secret | None = None


def test_units_in_a_model() -> None:
    sample = Sample.model_validate({"duration": "5m", "size": "1KiB", "expression": "a.b", "secret": "hidden"})
    assert (sample.duration, sample.size, str(sample.expression)) == (timedelta(minutes=5), 1024, "a.b")
    assert "hidden" not in repr(sample)
    assert sample.model_dump(mode="json")["duration"] == "5m"


def test_options_are_strict_and_frozen() -> None:
    with pytest.raises(ValidationError):
        Sample.model_validate({"duraton": "5m"})
    with pytest.raises(ValidationError):
        Sample().size = 5  # type: ignore[misc]


def test_a_wrong_value_is_not_repeated_by_pydantic() -> None:
    with pytest.raises(ValidationError) as raised:
        Sample.model_validate({"secret": ["hidden"]})
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("text", ["a[", "a[?", "!" * 5000 + "a", "9" * 5000, "[" * 5000, 5, ["a"]])
def test_what_is_no_expression(text: object) -> None:
    with pytest.raises(ValidationError, match="JMESPath"):
        TypeAdapter(JmesPath).validate_python(text)


def test_a_lease_is_longer_than_any_attempt() -> None:
    for timeout in ("500ms", "10s", "1m", "10m"):
        lane = LaneOptions.model_validate({"timeout": timeout})
        assert lane.lease >= timedelta(seconds=60)
        assert lane.lease > lane.timeout * 2


def test_the_defaults_of_the_contract() -> None:
    retry = RetryOptions()
    assert (retry.base, retry.factor, retry.cap) == (timedelta(seconds=1), 2, timedelta(hours=1))
    assert (retry.max_attempts, retry.max_age) == (20, timedelta(hours=72))
    assert (LaneOptions().timeout, LaneOptions().concurrency) == (timedelta(seconds=10), 32)
