"""What became of route tests, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from relay.commands.output import plain
from relay.config.routetests import RouteTest
from relay.expectations import Mismatch
from relay.model import value

LABEL = 13
"""Columns of what stands before a text."""


@value
class Result:
    """One test that was run."""

    test: RouteTest
    mismatches: Sequence[Mismatch]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether everything is as expected."""
        return not self.mismatches


def in_words(result: Result) -> str:
    """All that is not as expected, one thing under the other."""
    return "\n".join(line for mismatch in result.mismatches for line in (mismatch.what, *_lines(mismatch)))


def _lines(mismatch: Mismatch) -> Iterator[str]:
    yield from _labelled("expected", mismatch.expected)
    if mismatch.at is not None:  # between the two, so that it stands right also where the second one wraps
        yield from _labelled("", " " * cell_len(plain(mismatch.actual[: mismatch.at])) + "^")
    yield from _labelled("but it is", mismatch.actual)
    if mismatch.why:
        yield from _labelled("because", mismatch.why)


def _labelled(label: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n")):
        yield f"{'' if number else f'  {label}':{LABEL}}{line}".rstrip()
