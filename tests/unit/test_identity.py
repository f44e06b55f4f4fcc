"""Event ids are UUIDs of version 7; owners are told apart, also by people."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.identity import new_event_id, new_owner

MOMENTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(MOMENTS)
def test_an_id_is_a_uuid_of_version_7_that_tells_its_millisecond(moment: datetime) -> None:
    text = new_event_id(moment)
    read = UUID(text)
    assert str(read) == text
    assert (read.version, read.variant) == (7, RFC_4122)
    told = EPOCH + timedelta(milliseconds=read.int >> 80)
    assert abs(told - moment) <= timedelta(milliseconds=1)


@given(MOMENTS, st.timedeltas(min_value=timedelta(milliseconds=2), max_value=timedelta(hours=1)))
def test_a_later_id_sorts_later_as_text(moment: datetime, later: timedelta) -> None:
    assert new_event_id(moment) < new_event_id(moment + later)


def test_ids_of_one_moment_differ_in_every_random_bit() -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    numbers = [UUID(new_event_id(moment)).int for _ in range(1000)]
    assert len(set(numbers)) == 1000
    seen_set = seen_clear = 0
    for number in numbers:
        seen_set |= number
        seen_clear |= ~number
    both = seen_set & seen_clear & ((1 << 80) - 1)
    fixed = 0xF << 76 | 0x3 << 62
    assert both == ((1 << 80) - 1) & ~fixed


@pytest.mark.parametrize(
    ("machine", "begins"),
    [("web-1.example.org", "web-1.example.org-"), ("a b\n\u00e9" + "x" * 99, "a-b--" + "x" * 35 + "-")],
)
def test_an_owner_is_like_no_other_and_tells_the_machine(
    monkeypatch: pytest.MonkeyPatch, machine: str, begins: str
) -> None:
    monkeypatch.setattr("relay.identity.gethostname", lambda: machine)
    owners = [new_owner() for _ in range(100)]
    assert len(set(owners)) == 100
    assert all(owner.startswith(begins) and len(owner) == len(begins) + 12 for owner in owners)


def test_a_child_process_gives_ids_of_its_own() -> None:
    moment = datetime(2026, 11, 23, tzinfo=UTC)
    new_event_id(moment)  # now some random digits wait for the next ids
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_event_id(moment).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 36).decode()
    os.close(reading)
    os.close(writing)
    assert theirs != new_event_id(moment)
