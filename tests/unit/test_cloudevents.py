"""CloudEvents attributes of a delivery."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.cloudevents import attributes, content_type, http_header
from relay.payload import Defect
from tests.build import EVENT_ID, delivery, event


def test_the_attributes_are_those_of_the_contract() -> None:
    assert attributes(delivery()) == {
        "id": EVENT_ID,
        "source": "dyte",
        "type": "meeting.started",
        "time": "2026-11-23T11:30:15.678Z",
        "specversion": "1.0",
        "subject": "bbb0f1c4-a-meeting",
    }


def test_the_id_is_the_same_on_every_attempt_replay_and_sink() -> None:
    first = attributes(delivery())
    assert attributes(delivery(attempt=7, tries=5, replay=2, sink="audit", route="leftovers")) == first


@pytest.mark.parametrize("meeting", [None, ""])
def test_without_a_meeting_there_is_no_subject(meeting: str | None) -> None:
    assert "subject" not in attributes(delivery(event=event(meeting=meeting, stream="s-1")))


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])))
def test_the_time_is_a_timestamp_of_rfc_3339(moment: datetime) -> None:
    text = attributes(delivery(event=event(received_at=moment)))["time"]
    assert len(text) in (len("2026-11-23T11:30:00.123Z"), len("2026-11-23T11:30:00.123+05:30"))
    assert timedelta(0) <= moment - datetime.fromisoformat(text) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("defect", "expected"),
    [
        (None, "application/json"),
        (Defect.NO_TYPE, "application/json"),
        (Defect.NOT_OBJECT, "application/json"),
        (Defect.NOT_JSON, "application/octet-stream"),
        (Defect.TOO_DEEP, "application/octet-stream"),  # brackets that are never closed are too deep as well
    ],
)
def test_only_json_is_called_json(defect: Defect | None, expected: str) -> None:
    assert content_type(delivery(event=event(defect=defect))) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_header_is_printable_ascii_and_says_the_same(text: str) -> None:
    header = http_header(text)
    assert all("!" <= char <= "~" for char in header)
    assert '"' not in header
    assert unquote(header, errors="strict") == text


def test_only_what_must_be_encoded_is_encoded() -> None:
    """https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md"""
    plain = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')
    assert http_header(plain) == plain
    assert http_header('a "50%"\x7f\té€😀') == "a%20%2250%25%22%7F%09%C3%A9%E2%82%AC%F0%9F%98%80"
