"""Jinja2 over a payload, in a sandbox that a template can neither leave nor exhaust.

Values are escaped where they are printed, once, by a function that the caller brings; text written in the template
itself is not. A field that is missing, or null, prints nothing; only doing something with it (arithmetic, comparison,
calling) fails: write `x|default(0)` there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from jinja2 import TemplateError as JinjaError
from jinja2 import TemplateSyntaxError

from relay.payload import Json
from relay.templates.sandbox import Environment, Escape, Guard, TemplateError, budget

__all__ = ["Template", "TemplateError"]

MAX_SOURCE: Final = 32 * 1024
"""Characters of a template."""
MAX_OUTPUT: Final = 32 * 1024
"""Bytes of UTF-8 that a render may yield."""


class Template:
    """A compiled template."""

    def __init__(
        self, text: str, *, escape: Escape, filters: Mapping[str, Callable[..., object]] | None = None
    ) -> None:
        """Compile at once, so that a mistake shows where it is written.

        Args:
            text: Jinja2.
            escape: what happens to each value that is printed.
            filters: more filters; one that returns `Markup` prints as it is.

        Raises:
            TemplateError: with the line in the template.
        """
        if len(text) > MAX_SOURCE:
            raise TemplateError(f"the template is longer than {MAX_SOURCE} characters")
        environment = Environment(escape)
        environment.filters.update(filters or {})
        try:
            tree = Guard(environment).visit(environment.parse(text))
            code = environment.compile(tree, filename="<template>")
        except TemplateSyntaxError as error:
            raise TemplateError(f"line {error.lineno} of the template: {error.message}") from None
        except RecursionError:
            raise TemplateError("the template is nested too deeply") from None
        self._template = environment.template_class.from_code(environment, code, environment.globals)

    def render(self, variables: Mapping[str, Json]) -> str:
        """The text, with every value in it escaped.

        Raises:
            TemplateError: it does not work for these variables, or would take too much.
        """
        try:
            with budget():
                return "".join(_capped(self._template.generate(dict(variables))))
        except TemplateError:
            raise
        except RecursionError:
            raise TemplateError("the template calls itself without end") from None
        except JinjaError as error:
            raise TemplateError(f"{type(error).__name__}: {str(error)[:200]}") from None
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # Python's own message may quote the payload, which has no place in logs
            raise TemplateError(f"{type(error).__name__} while rendering") from None


def _capped(pieces: Iterator[str]) -> Iterator[str]:
    left = MAX_OUTPUT
    for piece in pieces:
        left -= len(piece.encode("utf-8", "replace"))
        if left < 0:
            raise TemplateError(f"the text is longer than {MAX_OUTPUT // 1024} KiB")
        yield piece
