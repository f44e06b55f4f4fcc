"""PyYAML's words for a broken file, in words that say what to type."""

from __future__ import annotations

import re

import yaml
from yaml.reader import ReaderError

from relay.model import value

_QUOTED = re.compile(r"'[^'<]{4,}'")  # a piece of the file; PyYAML's own words in quotes are `<like this>`
_QUOTE_IT = "put the value in quotes"
_WORDS = (
    ("mapping values are not allowed", "has a `:` where no key can be", "put the value in quotes, or mend the indent"),
    ("could not find expected ':'", "has a line that is no `key: value`", "add the `:`, or mend the indent"),
    ("unexpected end of stream", "has a quote that never ends", "close it"),
    ("expected ',' or ']'", "has a `[` list that never ends, or a `,` is missing in it", "close it with `]`"),
    ("expected ',' or '}'", "has a `{` mapping that never ends, or a `,` is missing in it", "close it with `}`"),
    ("block sequence entries are not allowed", "has a `-` where no list can be", "start the list on a line of its own"),
    ("expected <block end>", "is indented unlike the lines above", "give keys that belong together the same indent"),
    ("unknown escape character", "has an unknown `\\` escape in double quotes", "use single quotes, or write `\\\\`"),
    ("escape sequence", "has an unfinished `\\` escape in double quotes", "use single quotes, or write `\\\\`"),
    ("cannot start any token", "has a value that starts with a reserved character", _QUOTE_IT),
    ("but found another document", "has a second document", "remove the `---`"),
)


@value
class Flaw:
    """Why the rest of a file cannot be read. `line` is None where PyYAML does not say."""

    line: int | None
    column: int
    message: str
    mend: str


def explain(error: Exception, text: str) -> Flaw:
    """What is wrong, and where. Never repeats a value of the file."""
    match error:
        case ReaderError(position=int() as position):
            line = text.count("\n", 0, position) + 1
            return Flaw(
                line=line, column=1, message="has a control character", mend="remove it, or escape it in quotes"
            )
        case yaml.MarkedYAMLError(problem_mark=yaml.Mark() as mark):
            message, mend = _words(str(error.problem), text, mark)
            return Flaw(line=mark.line + 1, column=mark.column + 1, message=message, mend=mend)
        case _:
            return Flaw(line=None, column=1, message="is not YAML from here on", mend="look for an odd `\\` escape")


def _words(problem: str, text: str, mark: yaml.Mark) -> tuple[str, str]:
    here = text[mark.index : mark.index + 1]
    if here == "\t":
        return "has a tab where YAML wants spaces", "indent with spaces"
    if here == "{" and text[mark.index - 1 : mark.index] == "$":
        return "has a `${…}` inside `[…]` or `{…}`", _QUOTE_IT
    for known, message, mend in _WORDS:
        if known in problem:
            return message, mend
    return f"is not YAML here: {_QUOTED.sub('…', problem)}", "mend it, or put the value in quotes"
