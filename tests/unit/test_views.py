"""How much of a body is shown, and what of it never is."""

from __future__ import annotations

import base64

import orjson
import pytest

from relay.model import EventState
from relay.payload import Defect
from relay.records import EventRecord
from relay.views import Body, event_view
from tests.build import event

TWICE = b'{"event":"x","streamKey":"k3y","streamKey":""}'


def shown(body: bytes, how: Body, defect: Defect | None = None) -> dict[str, object]:
    record = EventRecord(event=event(body=body, defect=defect), state=EventState.ROUTED)
    return {name: text for name, text in event_view(record, body=how).items() if name.startswith("body")}


def test_nothing_is_shown_unasked() -> None:
    assert shown(b'{"event":"x"}', Body.NONE) == {}
    assert shown(b"\xff", Body.NONE, Defect.NOT_JSON) == {}


def test_what_is_sensitive_is_hidden_and_the_whole_is_the_bytes() -> None:
    body = b'{"event": "x", "streamKey": "k3y", "n": 1}'
    assert orjson.loads(str(shown(body, Body.CONCEALED)["body"])) == {"event": "x", "streamKey": "[hidden]", "n": 1}
    assert shown(body, Body.WHOLE) == {"body": body.decode()}


def test_a_key_that_stands_there_twice_is_not_shown_by_the_bytes() -> None:
    assert "k3y" not in str(shown(TWICE, Body.CONCEALED))
    assert "k3y" in str(shown(TWICE, Body.WHOLE))


@pytest.mark.parametrize("defect", list(Defect))
def test_what_cannot_be_read_cannot_be_cleaned_and_is_shown_whole_or_not_at_all(defect: Defect) -> None:
    assert shown(b"\xff k3y", Body.CONCEALED, defect) == {}
    assert shown(b"\xff k3y", Body.WHOLE, defect) == {"body_base64": base64.b64encode(b"\xff k3y").decode()}
