from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.payload import MAX_DEPTH, MAX_IDENTIFIER, Decoded, Defect, decode, find

MEBIBYTE = 1 << 20
WIDE = b"[" + b"[]," * 200 + b"[]]"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)
hostile_bytes = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from(
            [
                b"{",
                b"}",
                b"[",
                b"]",
                b'"',
                b":",
                b",",
                b'"a"',
                b"1",
                b"1e400",
                b"NaN",
                b"-Infinity",
                b"null",
                b"\x00",
                b'"\\ud83d"',
                b"\xed\xa0\xbd",
                b"\xff\xfe",
                b"\xef\xbb\xbf",
                b"9" * 5000,
                b" ",
                b"\n",
                b'"event"',
                b"-",
            ]
        ),
        max_size=12,
    ).map(b"".join),
    st.text(max_size=50).map(lambda text: text.encode("utf-16", "surrogatepass")),
)


def nested(depth: int, *, core: bytes = b"1") -> bytes:
    """An object with `depth` levels, itself included."""
    return b'{"a":' * (depth - 1) + b'{"a":' + core + b"}" * depth


@given(hostile_bytes)
def test_decode_answers_with_a_payload_or_a_defect_for_any_bytes(body: bytes) -> None:
    decoded = decode(body)
    assert isinstance(decoded.payload, dict)
    if decoded.defect is None:
        assert isinstance(json.loads(body), dict)
        orjson.dumps(decoded.payload)  # no encoder downstream will fail on it
    else:
        assert decoded.payload == {}


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_reads_what_any_encoder_writes(payload: dict[str, Any]) -> None:
    assert decode(orjson.dumps(payload)) == Decoded(payload)
    assert decode(json.dumps(payload).encode()) == Decoded(payload)


@pytest.mark.parametrize(
    ("body", "defect"),
    [
        (b"", Defect.NOT_JSON),
        (b" ", Defect.NOT_JSON),
        (b"{", Defect.NOT_JSON),
        (b"{}{}", Defect.NOT_JSON),
        (b"{'a':1}", Defect.NOT_JSON),
        (b'{"a":1,}', Defect.NOT_JSON),
        (b'{"a":"\x00"}', Defect.NOT_JSON),
        (b'{"a":"\n"}', Defect.NOT_JSON),
        (b'{"a":NaN}', Defect.NOT_JSON),
        (b'{"a":Infinity}', Defect.NOT_JSON),
        (b'{"a":-Infinity}', Defect.NOT_JSON),
        (b'{"a":1e400}', Defect.NOT_JSON),
        (b'{"a":01}', Defect.NOT_JSON),
        (b'{"a":' + b"9" * 5000 + b"}", Defect.NOT_JSON),
        (b'{"a":NaN,"b":"\\ud83d"}', Defect.NOT_JSON),
        (b'{"a":"\xff"}', Defect.NOT_JSON),
        (b'{"a":"\xed\xa0\xbd"}', Defect.NOT_JSON),  # a surrogate, encoded as if it were a character
        (b"\xef\xbb\xbf{}", Defect.NOT_JSON),
        ("{}".encode("utf-16"), Defect.NOT_JSON),
        ("{}".encode("utf-16-le"), Defect.NOT_JSON),
        ("{}".encode("utf-32"), Defect.NOT_JSON),
        (b"\x1f\x8b\x08\x00", Defect.NOT_JSON),
        (b"null", Defect.NOT_OBJECT),
        (b"1", Defect.NOT_OBJECT),
        (b'"text"', Defect.NOT_OBJECT),
        (b'"\\ud83d"', Defect.NOT_OBJECT),
        (b"[{}]", Defect.NOT_OBJECT),
        (WIDE, Defect.NOT_OBJECT),
        (nested(MAX_DEPTH + 1), Defect.TOO_DEEP),
        (nested(MAX_DEPTH + 1, core=b'"\\ud83d"'), Defect.TOO_DEEP),
        (nested(900, core=b'"\\ud83d"'), Defect.TOO_DEEP),
        (nested(2, core=b"[" * 63 + b"]" * 63), Defect.TOO_DEEP),
        (nested(2, core=b'[{"a":' * 32 + b"1" + b"}]" * 32), Defect.TOO_DEEP),
        (nested(1023), Defect.TOO_DEEP),
        (nested(1025), Defect.TOO_DEEP),
        (nested(20_000), Defect.TOO_DEEP),
        (b"[" * MEBIBYTE, Defect.TOO_DEEP),
        (b'{"a":' * (MEBIBYTE // 5), Defect.TOO_DEEP),
        (b"[" * (MEBIBYTE // 2) + b"]" * (MEBIBYTE // 2), Defect.TOO_DEEP),
    ],
    ids=lambda given: str(given)[:40],
)
def test_names_the_defect(body: bytes, defect: Defect) -> None:
    assert decode(body) == Decoded({}, defect)


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"{}", {}),
        (b' \r\n\t{"a" : 1}\n', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":"\\u0000"}', {"a": "\x00"}),
        (b'{"__proto__":{"a":1}}', {"__proto__": {"a": 1}}),
        (b'{"a":12345678901234567890123}', {"a": 1.2345678901234568e22}),
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'{"a":"half \\ud83d."}', {"a": "half \ufffd."}),
        (b'{"a":"\\ude00\\ud83d"}', {"a": "\ufffd\ufffd"}),
        (b'{"a":"\\ud83d\\ud83d\\ude00"}', {"a": "\ufffd\U0001f600"}),
        (b'{"a":["\\ud83d","\\ude00"]}', {"a": ["\ufffd", "\ufffd"]}),
        (b'{"\\ud800":[1.5,null,true,"\xc3\xa4"]}', {"\ufffd": [1.5, None, True, "ä"]}),
    ],
)
def test_reads(body: bytes, payload: dict[str, Any]) -> None:
    assert decode(body) == Decoded(payload)


def test_the_deepest_allowed_nesting_is_read_and_width_is_not_depth() -> None:
    assert MAX_DEPTH == 64
    assert decode(nested(2, core=b"[" * 62 + b"]" * 62)).defect is None
    assert decode(nested(MAX_DEPTH)).defect is None
    assert decode(nested(MAX_DEPTH, core=b'"\\ud83d"')).defect is None
    assert decode(b'{"a":' + WIDE + b"}").defect is None
    assert decode(b'{"a":"' + b"[{" * 500 + b'"}').defect is None


def test_only_defects_of_shape_are_json() -> None:
    assert {defect for defect in Defect if defect.is_json} == {Defect.NOT_OBJECT, Defect.NO_TYPE}


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        ({"a": {"b": "x"}, "c": "y"}, "x"),
        ({"a": {}, "c": "y"}, "y"),
        ({"a": None, "c": "y"}, "y"),
        ({"a": "text", "c": "y"}, "y"),
        ({"a": [{"b": "x"}], "c": "y"}, "y"),
        ({"a": {"b": ""}, "c": "y"}, "y"),
        ({"a": {"b": 7}, "c": "y"}, "y"),
        ({"a": {"b": True}, "c": "y"}, "y"),
        ({"a": {"b": ["x"]}, "c": "y"}, "y"),
        ({"a": {"b": "x" * MAX_IDENTIFIER}}, "x" * MAX_IDENTIFIER),
        ({"a": {"b": "x" * (MAX_IDENTIFIER + 1)}, "c": "y"}, "y"),
        ({"a": {"b": "x\n"}, "c": "y"}, "y"),
        ({"a": {"b": "x\x00"}, "c": "y"}, "y"),
        ({"a": {"b": "x\u202e"}, "c": "y"}, "y"),
        ({"a": {"b": "\ud83d"}, "c": "y"}, "y"),
        ({"a": {"b": "ä b"}}, "ä b"),
        ({}, None),
    ],
)
def test_finds_the_first_usable_identifier(payload: dict[str, Any], found: str | None) -> None:
    assert find(payload, "a.b", "c") == found


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), json_values), st.text("abc.", max_size=6))
def test_find_answers_for_any_payload_and_path(payload: dict[str, Any], path: str) -> None:
    found = find(payload, path)
    assert found is None or (0 < len(found) <= MAX_IDENTIFIER and found.isprintable())
