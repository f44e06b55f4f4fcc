"""JMESPath, made total: an expression either yields a value or says why it does not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from relay.payload import Json


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
            first_line = str(error).splitlines()[0] if str(error) else "it is empty"
            why = first_line.removeprefix("Invalid jmespath expression: ").rstrip(":")
            raise ExpressionError(f"is not a JMESPath expression: {why}") from error
        except (RecursionError, ValueError) as error:  # thousands of brackets, a number of thousands of digits
            raise ExpressionError("is not a JMESPath expression: it is nested too deeply, or too long") from error
        object.__setattr__(self, "_compiled", compiled)

    def search(self, payload: Json) -> Json:
        """The expression's value over a payload.

        Raises:
            ExpressionError: a function got a wrong type, or the evaluator gave up, whatever the reason: the payload
                comes from outside, and a rule that fails on it must not take the lane or the answer with it.
        """
        try:
            return self._compiled.search(payload)
        except JMESPathError as error:
            raise ExpressionError(str(error)) from error
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ExpressionError(f"{type(error).__name__}: {error}") from error

    def __str__(self) -> str:
        return self.text


def is_true(value: Json) -> bool:
    """JMESPath's truth: false, null and empty text, list or object are false; a number is true, also 0."""
    return not (value is None or value is False or value in ("", [], {}))
