"""The line that a file gets for a delivery."""

from __future__ import annotations

import base64
import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.payload import Defect
from relay.sinks.file import line
from tests.build import EVENT_ID, delivery, event

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_line_holds_the_attributes_and_the_signed_bytes() -> None:
    body = b'{"event": "meeting.started", "big": 482913007751264490318826}'
    written = line(delivery(event=event(body=body, meeting="bbb0f1c4-a-meeting")))
    assert written.endswith(b',"data":' + body + b"}\n")
    assert json.loads(written) == {
        "id": EVENT_ID,
        "source": "dyte",
        "type": "meeting.started",
        "time": "2026-11-23T11:30:15.678Z",
        "specversion": "1.0",
        "subject": "bbb0f1c4-a-meeting",
        "route": "a-route",
        "sink": "a-sink",
        "data": json.loads(body),
    }


def test_a_replay_says_so() -> None:
    assert "replay" not in json.loads(line(delivery()))
    assert json.loads(line(delivery(replay=3)))["replay"] == 3


def test_what_select_made_is_written_instead_of_the_signed_body() -> None:
    assert json.loads(line(delivery(body=b"null")))["data"] is None


@given(JSON_VALUES, st.sampled_from([None, 1, "\t", "\r\n"]))
def test_any_json_stays_what_it_is_on_one_line(value: object, indent: str | int | None) -> None:
    body = json.dumps(value, indent=indent).encode()
    written = line(delivery(event=event(body=body)))
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    assert b"\r" not in written
    assert json.loads(written)["data"] == value


@pytest.mark.parametrize("breaks", [b"\n", b"\r", b"\r\n", b"\n\n\r"])
def test_line_breaks_between_tokens_become_spaces(breaks: bytes) -> None:
    body = breaks + b'{"event":' + breaks + b'"x"}' + breaks
    written = line(delivery(event=event(body=body)))
    assert written.count(b"\n") == 1
    assert b"\r" not in written
    assert orjson.loads(written)["data"] == {"event": "x"}


@pytest.mark.parametrize("defect", [Defect.NOT_JSON, Defect.TOO_DEEP])
@given(body=st.binary())
def test_what_may_be_no_json_is_written_as_base64(defect: Defect, body: bytes) -> None:
    written = line(delivery(event=event(body=body, defect=defect)))
    assert written.count(b"\n") == 1
    read = orjson.loads(written)
    assert "data" not in read
    assert base64.b64decode(read["data_base64"], validate=True) == body


@pytest.mark.parametrize(("defect", "body"), [(Defect.NOT_OBJECT, b"[1,\n2]"), (Defect.NO_TYPE, b'{"event":7}')])
def test_json_that_is_no_event_is_still_written_as_json(defect: Defect, body: bytes) -> None:
    assert orjson.loads(line(delivery(event=event(body=body, defect=defect))))["data"] == orjson.loads(body)
