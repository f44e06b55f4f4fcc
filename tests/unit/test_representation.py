"""`redact` removes, `pseudonymize` hashes, `select` projects; without any, the signed bytes go out."""

from __future__ import annotations

import copy
import hmac
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from relay.errors import Rejected
from relay.expression import Expression
from relay.model import Delivery, Reason
from relay.options import LaneOptions, Secret
from relay.payload import Defect
from relay.representation import Changes, Shape, changes, pseudonymized, redacted, represent
from tests.build import delivery, event

KEYS = st.sampled_from(["a", "b", "c"])
VALUES = st.recursive(
    st.none() | st.integers(0, 9) | st.text("xyz", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=15,
)
PATHS = st.lists(st.lists(KEYS, min_size=1, max_size=4).map(".".join), max_size=3)


def of(payload: Any, **fields: Any) -> Delivery:
    return delivery(event=event(body=json.dumps(payload).encode(), **fields))


@pytest.mark.parametrize("defect", [None, *Defect])
@given(body=st.binary())
def test_without_select_and_redact_the_delivery_goes_out_untouched(defect: Defect | None, body: bytes) -> None:
    given_one = delivery(event=event(body=body, defect=defect))
    assert represent(given_one, Shape(select=None, redact=())) is given_one


@pytest.mark.parametrize(
    ("paths", "left"),
    [
        ((), {"a": {"b": 1, "c": 2}, "list": [{"b": 1, "c": 2}, [{"b": 3}], 7], "s": "x"}),
        (("a",), {"list": [{"b": 1, "c": 2}, [{"b": 3}], 7], "s": "x"}),
        (("a.b",), {"a": {"c": 2}, "list": [{"b": 1, "c": 2}, [{"b": 3}], 7], "s": "x"}),
        (("list.b",), {"a": {"b": 1, "c": 2}, "list": [{"c": 2}, [{}], 7], "s": "x"}),
        (("a.b", "a.c", "s", "list"), {"a": {}}),
        (
            ("s.b", "nowhere", "a.b.c.d", "", "."),
            {"a": {"b": 1, "c": 2}, "list": [{"b": 1, "c": 2}, [{"b": 3}], 7], "s": "x"},
        ),
    ],
)
def test_redact_removes_what_its_paths_name(paths: tuple[str, ...], left: Any) -> None:
    payload = {"a": {"b": 1, "c": 2}, "list": [{"b": 1, "c": 2}, [{"b": 3}], 7], "s": "x"}
    assert redacted(payload, paths) == left


def leaves(value: Any, keys: list[str]) -> bool:
    """Whether something is left at the path, lists being looked through."""
    if not keys:
        return True
    if isinstance(value, list):
        return any(leaves(element, keys) for element in value)
    return isinstance(value, dict) and keys[0] in value and leaves(value[keys[0]], keys[1:])


@given(VALUES, PATHS)
def test_nothing_is_left_at_a_redacted_path_and_the_payload_stays_as_it_was(payload: Any, paths: list[str]) -> None:
    before = copy.deepcopy(payload)
    after = redacted(payload, paths)
    assert payload == before
    assert not any(leaves(after, path.split(".")) for path in paths)


def test_a_secret_given_twice_is_removed_twice() -> None:
    body = b'{"event":"x","streamKey":"first","streamKey":"second","\\u0073treamKey":"third"}'
    made = represent(delivery(event=event(body=body)), Shape(select=None, redact=("streamKey",)))
    assert made.body == b'{"event":"x"}'


def test_redact_comes_before_select() -> None:
    made = represent(of({"a": {"b": 1, "c": 2}}), Shape(select=Expression("a"), redact=("a.b",)))
    assert orjson.loads(made.body) == {"c": 2}


def test_the_event_and_its_payload_stay_as_they_were() -> None:
    given_one = of({"event": "x", "a": {"b": 1}})
    made = represent(given_one, Shape(select=None, redact=("a.b",)))
    assert made.event is given_one.event
    assert given_one.event.payload == {"event": "x", "a": {"b": 1}}
    assert made.payload == {"event": "x", "a": {}}
    assert (made.id, made.attempt, made.tries) == (given_one.id, given_one.attempt, given_one.tries)


@pytest.mark.parametrize(
    ("select", "body"),
    [("meeting.id", b'"m"'), ("nowhere", b"null"), ("{m: meeting.id}", b'{"m":"m"}'), ("[meeting.id]", b'["m"]')],
)
def test_select_sends_its_result_whatever_it_is(select: str, body: bytes) -> None:
    assert represent(of({"meeting": {"id": "m"}}), Shape(select=Expression(select), redact=())).body == body


@pytest.mark.parametrize("defect", [Defect.NOT_JSON, Defect.NOT_OBJECT, Defect.TOO_DEEP])
@pytest.mark.parametrize(("select", "redact"), [(None, ("streamKey",)), (Expression("a"), ())])
def test_what_cannot_be_read_is_never_sent_unredacted(
    defect: Defect, select: Expression | None, redact: tuple[str, ...]
) -> None:
    with pytest.raises(Rejected, match=f"cannot be redacted or projected: it is {defect}") as caught:
        represent(delivery(event=event(body=b"streamKey", defect=defect)), Shape(select=select, redact=redact))
    assert caught.value.failure.reason is Reason.TEMPLATE


def test_an_object_without_a_type_can_be_redacted() -> None:
    made = represent(of({"a": 1, "b": 2}, defect=Defect.NO_TYPE), Shape(select=None, redact=("a",)))
    assert made.body == b'{"b":2}'


@pytest.mark.parametrize(
    "select",
    [
        "abs(name)",  # fails over this payload
        "&name",  # a reference to an expression is no value
        "[&name]",
        r'`"\ud800"`',  # half an emoji cannot be written
        "to_number(digits)",  # a number of more than 64 bits neither
    ],
)
def test_a_select_that_fails_rejects_the_event_and_does_not_crash(select: str) -> None:
    given_one = of({"name": "Rohan", "digits": "9" * 30})
    with pytest.raises(Rejected, match=r"^select: ") as caught:
        represent(given_one, Shape(select=Expression(select), redact=()))
    assert caught.value.failure.reason is Reason.TEMPLATE
    assert "Rohan" not in caught.value.failure.detail


# Pseudonyms

KEY = b"0123456789abcdef"


def test_a_pseudonym_is_the_same_for_the_same_value_and_key_only() -> None:
    payload = {"who": {"id": "ann"}, "list": [{"id": "ann"}, {"id": "bob"}], "id": "ann"}
    made = pseudonymized(payload, ["who.id", "list.id"], key=KEY)
    assert made["who"]["id"] == made["list"][0]["id"] != made["list"][1]["id"]
    assert made["id"] == "ann", "only where it was asked for"
    assert pseudonymized(payload, ["who.id"], key=b"another key") != pseudonymized(payload, ["who.id"], key=KEY)
    assert payload["who"] == {"id": "ann"}


def test_a_pseudonym_can_be_made_by_anybody_who_has_the_key() -> None:
    made = pseudonymized({"a": "Ännie", "b": 7, "c": {"y": 1, "x": 2}, "d": None, "e": ""}, list("abcdef"), key=KEY)
    assert made == {
        "a": hmac.new(KEY, "Ännie".encode(), "sha256").hexdigest()[:32],
        "b": hmac.new(KEY, b"7", "sha256").hexdigest()[:32],
        "c": hmac.new(KEY, b'{"x":2,"y":1}', "sha256").hexdigest()[:32],
        "d": None,
        "e": hmac.new(KEY, b"", "sha256").hexdigest()[:32],
    }


def test_what_is_redacted_has_no_pseudonym_and_select_sees_it() -> None:
    shape = Shape(select=Expression("[a, b]"), redact=["a"], pseudonymize=["a", "b"], key=KEY)
    [nothing, pseudonym] = orjson.loads(represent(of({"a": "x", "b": "y"}), shape).body)
    assert nothing is None
    assert len(pseudonym) == 32


def test_a_pseudonym_alone_changes_what_is_sent_and_unreadable_bodies_are_not_sent() -> None:
    shape = Shape(pseudonymize=["a"], key=KEY)
    assert b"Ann" not in represent(of({"a": "Ann"}), shape).body
    with pytest.raises(Rejected):
        represent(delivery(event=event(body=b"Ann", defect=Defect.NOT_JSON)), shape)


def test_pseudonyms_need_a_key_worth_the_name() -> None:
    for key in (None, "short"):
        with pytest.raises(ValidationError, match="pseudonym_key of at least 16"):
            LaneOptions(pseudonymize=("a",), pseudonym_key=key)  # type: ignore[arg-type]
    options = LaneOptions(pseudonymize=("a",), pseudonym_key=Secret("0123456789abcdef"))
    assert Shape.of(options) == Shape(pseudonymize=("a",), key=KEY)
    assert Shape.of(LaneOptions()).changes_nothing


def test_what_a_shape_changes_can_be_told() -> None:
    given_one = of({"a": {"b": 1}, "list": [{"c": 1}, [{"d": None}], 7], "s": "x"})
    shape = Shape(
        redact=["a.b", "list.c", "s.x", "a.z"], pseudonymize=["list.d", "list.c", "s", "a.b.z", "z"], key=b"k"
    )
    assert changes(given_one, shape) == Changes(
        removed=("a.b", "list.c"), hashed=("list.d", "s"), absent=("s.x", "a.z", "a.b.z", "z")
    )
    assert changes(given_one, Shape(select=Expression("a"))) == Changes(projected=True)
    unreadable = delivery(event=event(body=b"x", defect=Defect.NOT_JSON))
    assert changes(unreadable, Shape(redact=["a"])) == Changes(absent=("a",))


@given(payload=VALUES, removed=PATHS)
def test_what_is_told_to_be_there_is_what_is_removed(payload: Any, removed: list[str]) -> None:
    told = changes(of({"a": payload}), Shape(redact=removed))
    assert (redacted({"a": payload}, removed) != {"a": payload}) == bool(told.removed)
    assert {*told.removed, *told.absent} == {*removed}
