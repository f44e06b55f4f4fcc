"""SQLite's GLOB in PostgreSQL's words, so that a pattern means the same whatever the store is.

`*` is any number of characters and `?` is one; `[..]` is one of these, with ranges, and `[^..]` is one of the others. A
`]` stands for itself at the beginning, and a `-` at either end. A bracket that nobody closes fits nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from relay.model import value


@value
class Glob:
    """What a pattern is here: `text` is the right side of the operator."""

    operator: str
    text: str


def translated(pattern: str) -> Glob | None:
    """The same as LIKE, or as a regular expression where LIKE is not enough; None: it fits nothing."""
    pattern = pattern.partition("\0")[0]  # a text ends there for SQLite
    if not _NEEDS_MORE.intersection(pattern):
        return Glob(operator="LIKE", text="".join(_LIKE.get(character, character) for character in pattern))
    pieces = list(_pieces(pattern))
    return None if None in pieces else Glob(operator="~", text=f"^{''.join(map(str, pieces))}$")


_NEEDS_MORE = {"[", "\x01"}  # the latter is escaped on its way to the server
_LIKE = {"*": "%", "?": "_", "%": r"\%", "_": r"\_", "\\": r"\\"}
_NUMBERED = r"\U{:08x}"


def _pieces(pattern: str) -> Iterator[str | None]:
    """A regular expression, a piece for each part of the pattern; None where it fits nothing."""
    place = 0
    while place < len(pattern):
        character = pattern[place]
        place += 1
        if character == "[":
            piece, place = _bracket(pattern, place)
            yield piece
        else:
            yield {"*": ".*", "?": "."}.get(character) or _NUMBERED.format(ord(character))


def _bracket(pattern: str, place: int) -> tuple[str | None, int]:
    """What stands between brackets, and where it ends."""
    excludes = pattern[place : place + 1] == "^"
    place += excludes
    ranges: list[tuple[str, str]] = []
    if pattern[place : place + 1] == "]":
        ranges.append(("]", "]"))
        place += 1
    before = ""
    """What may begin a range."""
    while place < len(pattern) and pattern[place] != "]":
        character, after = pattern[place], pattern[place + 1 : place + 2]
        if character == "-" and before and after not in ("", "]"):
            ranges.append((before, after))
            before = ""
            place += 2
        else:
            ranges.append((character, character))
            before = character
            place += 1
    if place == len(pattern):
        return None, place
    inside = "".join(
        f"{_NUMBERED.format(ord(first))}-{_NUMBERED.format(ord(last))}" for first, last in ranges if first <= last
    )
    if not inside:  # only ranges that go backwards
        return ("." if excludes else None), place + 1
    return f"[{'^' * excludes}{inside}]", place + 1
