from __future__ import annotations

import copy
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jmespath.functions import Functions

from relay.expression import Expression, ExpressionError, is_true
from relay.payload import decode

EVENT = "recording.statusUpdate"
PAYLOAD: dict[str, Any] = {
    "event": EVENT,
    "recording": {"status": "UPLOADED", "fileSize": "2044680", "parts": [3, "b", None, {"status": "x"}]},
    "streamKey": "s3cret",
    "zero": 0,
}

atoms = st.sampled_from(
    [
        "recording",
        "recording.status",
        "recording.parts",
        "@",
        "zero",
        "`1`",
        "`null`",
        "`[]`",
        "`{}`",
        "`true`",
        "'x'",
        '`[1,"a"]`',
        "`1e308`",
        "`-1e400`",
        '`"\\ud800"`',
        "&@",
        "&status",
        "recording.parts[::0]",
        "recording.parts[*]",
        "[zero, event]",
        "{a: zero}",
        "recording.parts[?status]",
        "zero < event",
        "!event",
        "event || zero",
    ]
)
calls = st.builds(
    lambda name, arguments: f"{name}({', '.join(arguments)})",
    st.sampled_from(sorted(Functions.FUNCTION_TABLE)),
    st.lists(atoms, max_size=3),
)
nearly_jmespath = st.lists(
    st.sampled_from([*"ab01.[]*|&@'\"\\(){}:,?!<>= -_é\x00\ud800", "[?", "||", "length(", "[0:2]", "9" * 5000]),
    max_size=10,
).map("".join)


@settings(max_examples=300)
@given(nearly_jmespath)
def test_any_text_is_an_expression_or_an_expression_error(text: str) -> None:
    with suppress(ExpressionError):
        is_true(Expression(text).search(PAYLOAD))


@settings(max_examples=400)
@given(
    calls | st.tuples(calls, calls).map(" | ".join),
    st.just(PAYLOAD) | st.binary(max_size=60).map(lambda body: decode(body).payload),
)
def test_any_call_yields_a_value_or_an_expression_error_and_changes_nothing(text: str, payload: dict[str, Any]) -> None:
    before = copy.deepcopy(payload)
    expression = Expression(text)
    with suppress(ExpressionError):
        is_true(expression.search(payload))
    assert payload == before


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("recording.status", "UPLOADED"),
        ("recording.status == 'UPLOADED'", True),
        ("recording.nothing.deeper", None),
        ("event.status", None),
        ("to_number(recording.fileSize) > `2000000`", True),
        ("recording.parts[0]", 3),
    ],
)
def test_searches(text: str, result: object) -> None:
    assert Expression(text).search(PAYLOAD) == result


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be empty"),
        (" ", "Incomplete expression"),
        ("a ==", "Incomplete expression"),
        ("a = 'b'", "expression: Unknown token '='; compare with `==`"),
        ("a > 5", "; a number stands in `` `backticks` ``"),
        ("a & b", "; write `&&`"),
        ("a == 'x' AND b", "; write `&&`"),
        ("a == 'x' or b", "; write `||`"),
        ("a b", 'expression: Unexpected token: b: Parse error at column 2, token "b" (UNQUOTED_IDENTIFIER)'),
        ("a[", ""),
        ("'a", ""),
        ("startswith(event, 'a')", "there is no function startswith()"),
        ("a[?b == nosuch(`1`)].c | {d: [!length(e)]}", "there is no function nosuch()"),
        ("[" * 5000, "nested too deeply, or too long"),
        ("`" + "[" * 100_000 + "`", "nested too deeply, or too long"),
        ("a[" + "9" * 5000 + "]", "nested too deeply, or too long"),
    ],
)
def test_refuses_where_it_is_written(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match="is not a JMESPath expression: ") as refused:
        Expression(text)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sum(@)", "sum() takes array-number, and got object"),
        ("starts_with(zero, event)", "starts_with() takes string, and got number"),
        ("abs(event, event)", "Expected 1 argument for function abs(), received 2"),
        ("merge()", "Expected at least 1 argument for function merge(), received 0"),
        ("recording.parts[::0]", "ValueError: slice step cannot be zero"),
        ("ceil(`1e400`)", "OverflowError: cannot convert float infinity to integer"),
        ("merge(@, `true`)", "TypeError: 'bool' object is not iterable"),
        ("a" + ".a" * 50_000, None),
    ],
)
def test_says_what_failed_without_showing_the_payload(text: str, says: str | None) -> None:
    expression = Expression(text)
    if says is None:
        assert expression.search(PAYLOAD) is None
        return
    with pytest.raises(ExpressionError) as failed:
        expression.search(PAYLOAD)
    assert str(failed.value) == says


def test_no_call_quotes_the_payload_in_its_error() -> None:
    for name in Functions.FUNCTION_TABLE:
        for arguments in (
            "@",
            "@, @",
            "streamKey",
            "streamKey, streamKey",
            "&@, @",
            "@, &@",
            "[streamKey], &streamKey",
        ):
            try:
                Expression(f"{name}({arguments})").search(PAYLOAD)
            except ExpressionError as error:
                assert "s3cret" not in str(error)  # noqa: PT017 - most calls are fine


def test_a_recursion_that_the_evaluator_cannot_take_is_an_error() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ExpressionError, match="RecursionError"):
        Expression("to_string(@)").search(deep)


@pytest.mark.parametrize(
    ("value", "truth"),
    [
        (None, False),
        (False, False),
        ("", False),
        ([], False),
        ({}, False),
        (True, True),
        (0, True),
        (0.0, True),
        (1, True),
        (float("nan"), True),
        ("0", True),
        (" ", True),
        ([None], True),
        ([[]], True),
        ({"": None}, True),
    ],
)
def test_truth_is_jmespaths(value: object, truth: object) -> None:
    assert is_true(value) is truth
    assert (Expression("[?@]").search([value]) != []) is truth


def test_is_its_text() -> None:
    assert Expression("a.b") == Expression("a.b")
    assert Expression("a.b") != Expression("a . b")
    assert hash(Expression("a.b")) == hash(Expression("a.b"))
    assert str(Expression("a.b")) == "a.b"
    assert repr(Expression("a.b")) == "Expression(text='a.b')"


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("recording.status == 'X' && !(zero) || event", {"recording.status": "UPLOADED", "zero": 0, "event": EVENT}),
        ("contains(recording.status, 'UP')", {"recording.status": "UPLOADED"}),
        ("recording.nothing.deeper > `1`", {"recording.nothing.deeper": None}),
        ("event.deeper", {"event.deeper": None}),
        ("recording.parts[?status == 'x'] | [0]", {}),
        ("recording.parts[0].status == zero", {"zero": 0}),
        ("length(recording.parts[*].status) > `1`", {}),
        ("`true`", {}),
    ],
)
def test_what_it_looks_at_is_told(text: str, seen: dict[str, Any]) -> None:
    assert Expression(text).seen(PAYLOAD) == seen


@given(st.one_of(atoms, calls), st.sampled_from([PAYLOAD, {}, {"recording": []}]))
def test_what_it_looks_at_is_told_of_any_payload(text: str, payload: dict[str, Any]) -> None:
    assert all(isinstance(path, str) for path in Expression(text).seen(payload))


def test_a_path_of_a_thousand_steps_is_no_trouble() -> None:
    assert list(Expression(".".join("a" * 1000)).seen({}).values()) == [None]


@pytest.mark.parametrize("text", ["!a.b", "c && !a.b.c", "!@.a == 'x'", "length(x[?!a.b]) > `0`"])
def test_a_negation_that_ends_too_early_is_a_mistake(text: str) -> None:
    with pytest.raises(ExpressionError, match=r"write `!\(a\.b\)`"):
        Expression(text)


def test_a_negation_of_the_whole_is_none() -> None:
    asked = ("!(a.b)", "!(a.c)", "!a", "!a[0]")
    assert [Expression(text).search({"a": {"b": 1}}) for text in asked] == [False, True, False, True]
