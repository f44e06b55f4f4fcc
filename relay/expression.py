"""JMESPath, made total: an expression either yields a value or says why it does not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError, JMESPathTypeError
from jmespath.functions import Functions

from relay.payload import Json

_SLIPS = {
    "Unknown token '='": "; compare with `==`",
    "(NUMBER)": "; a number stands in `` `backticks` ``",
    "(EXPREF)": "; write `&&`",
    'token "and"': "; write `&&`",
    'token "or"': "; write `||`",
}
"""What people write from habit, by what JMESPath says of it, and what to write instead."""
_FRAME = re.compile(r"^.*?jmespath expression: |(, for expression)?:$", re.IGNORECASE)


class ExpressionError(ValueError):
    """The text is no JMESPath, or it could not be evaluated over this payload."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled JMESPath expression; equal to another of the same text."""

    text: str
    _compiled: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile at once, so that a bad expression fails where it is written.

        Raises:
            ExpressionError: the text is no JMESPath.
        """
        try:
            compiled = jmespath.compile(self.text)
        except JMESPathError as error:
            raise ExpressionError(f"is not a JMESPath expression: {_why(error)}") from error
        except (RecursionError, ValueError) as error:  # thousands of brackets, a number of thousands of digits
            raise ExpressionError("is not a JMESPath expression: it is nested too deeply, or too long") from error
        for name in _functions(compiled.parsed):
            if name not in Functions.FUNCTION_TABLE:
                raise ExpressionError(f"is not a JMESPath expression: there is no function {name}()")
        if any(map(_negates_too_little, _nodes(compiled.parsed))):
            raise ExpressionError("never holds: `!a.b` means `(!a).b`, and that is nothing; write `!(a.b)`")
        object.__setattr__(self, "_compiled", compiled)

    def search(self, payload: Json) -> Json:
        """The expression's value over a payload.

        Raises:
            ExpressionError: a function got a wrong type, or the evaluator gave up, whatever the reason: the payload
                comes from outside, and a rule that fails on it must not take the lane or the answer with it. The
                message names types, never values: it is logged and kept in the ledger.
        """
        try:
            return self._compiled.search(payload)
        except JMESPathTypeError as error:
            expected = " or ".join(error.expected_types)
            raise ExpressionError(f"{error.function_name}() takes {expected}, and got {error.actual_type}") from error
        except JMESPathError as error:
            raise ExpressionError(str(error)) from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ExpressionError(f"{type(error).__name__}: {error}") from error

    def seen(self, payload: Json) -> Mapping[str, Json]:
        """What the expression looks at in a payload: the value of each path that it names, null where there is none.
        What it looks at inside of lists is left out. Never raises.
        """
        return {".".join(path): _at(payload, path) for path in _paths(self._compiled.parsed)}

    def fields(self) -> Sequence[str]:
        """The dotted paths that it asks the whole payload for, as far as they are plain names."""
        found = dict.fromkeys(_paths(self._compiled.parsed))
        return [".".join(path) for path in found if not any("." in step for step in path)]

    def __str__(self) -> str:
        return self.text


def is_true(value: Json) -> bool:
    """JMESPath's truth: false, null and empty text, list or object are false; a number is true, also 0."""
    return not (value is None or value is False or value in ("", [], {}))


def _why(error: JMESPathError) -> str:
    """JMESPath's own words, in one line, without their frame and without the whole expression; a character of it that
    is not seen is written out."""
    line = _FRAME.sub("", str(error).splitlines()[0])
    told = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)
    return told + next((mend for sign, mend in _SLIPS.items() if sign.lower() in told.lower()), "")


def _functions(tree: Mapping[str, Any]) -> Iterator[str]:
    """The functions that a parsed expression calls. JMESPath itself looks them up only when it gets there."""
    return (node["value"] for node in _nodes(tree) if node["type"] == "function_expression")


def _negates_too_little(node: Mapping[str, Any]) -> bool:
    """A step into what was negated: true and false have no fields, so whoever writes it means something else."""
    return bool(node["type"] == "subexpression" and node["children"][0]["type"] == "not_expression")


def _nodes(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """All parts of a parsed expression."""
    nodes: list[Any] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, dict):
            yield node
            nodes.extend(node["children"])


_OVER_THE_SAME = {"comparator", "and_expression", "or_expression", "not_expression", "function_expression"}
"""Nodes whose parts are asked of the same value as they are."""


def _paths(tree: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """The plain paths, such as `recording.status`, that an expression asks the whole payload for, as written."""
    nodes: list[Any] = [tree]
    while nodes:
        node = nodes.pop()
        if path := _path(node):
            yield path
        elif node["type"] in _OVER_THE_SAME:
            nodes.extend(reversed(node["children"]))


def _path(node: Mapping[str, Any]) -> tuple[str, ...]:
    """The steps of a plain path; none where it is something else."""
    steps = node["children"] if node["type"] == "subexpression" else [node]
    return tuple(step["value"] for step in steps) if all(step["type"] == "field" for step in steps) else ()


def _at(value: Json, path: tuple[str, ...]) -> Json:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value
