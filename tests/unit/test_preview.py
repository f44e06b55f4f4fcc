"""What may be seen of a delivery, and the JSON that is read out of any bytes."""

from __future__ import annotations

import pytest

from relay.preview import Look, json_of
from tests.fakes.delivery import delivery

SECRET = b'{"event":"x", "streamKey":"k","streamKey":"again", "n":1}'


def test_without_a_word_nothing_sensitive_is_seen() -> None:
    assert Look().of(delivery(None, body=SECRET)).body == b'{"event":"x","streamKey":"[hidden]","n":1}'


def test_whoever_asks_for_the_content_gets_the_delivery_itself() -> None:
    given = delivery(None, body=SECRET)
    assert Look(content=True).of(given) is given


@pytest.mark.parametrize("body", [b"\xff", b"[" * 1000, b""])
def test_of_a_body_that_cannot_be_read_nothing_is_seen(body: bytes) -> None:
    assert Look().of(delivery(None, body=body)).body == b"[hidden]"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b'[{"a": 1}]', [{"a": 1}]),
        (b' "text" ', "text"),
        (b"null", None),
        (b"no json", None),
        (b'"half an emoji \\ud83d"', "half an emoji \ufffd"),
        (b"[" * 70 + b"]" * 70, None),
        (b'1,"it":2', None),
    ],
)
def test_json_is_read_leniently_and_never_too_deeply(body: bytes, expected: object) -> None:
    assert json_of(body) == expected
