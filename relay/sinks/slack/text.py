"""Text for Slack: clean, cut, then escaped, in this order, so that no entity is ever cut in half.

Lengths are counted in UTF-16 units of the escaped text. Slack does not say how it counts; this is the strictest way.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import accumulate

MAX_TEXT = 4000
"""Above it Slack advises against `text`. https://docs.slack.dev/reference/methods/chat.postMessage#truncating"""
MAX_SECTION = 3000
"""https://docs.slack.dev/reference/block-kit/blocks/section-block"""
MAX_TOTAL = 10_000
"""All blocks of a message together. Slack refuses a message somewhere above 13,000, at a limit that it does not state.
https://github.com/slackapi/bolt-js/issues/2509"""
ELLIPSIS = "…"

_BREAKS = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
# Controls, bidirectional marks, letters without ink, interlinear and tag characters, half surrogates, noncharacters.
# U+200C and U+200D stay: Persian and emoji need them.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)
_SPACES = re.compile(r"\s{2,}")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "@": "@\u200b"})
# What must not be torn apart in text that is escaped already: a link, mention or date, an entity, a defused @.
_ATOM = re.compile(r"<[^<>\n]{1,2000}>|&(?:amp|lt|gt);|@\u200b|.", re.DOTALL)


def clean(text: str) -> str:
    """One line without anything that is not seen: no line breaks, controls, bidirectional marks, half surrogates."""
    return _SPACES.sub(" ", _INVISIBLE.sub("", _BREAKS.sub(" ", text))).strip()


def escape(text: str) -> str:
    """Disarm links and mentions: `& < >` become entities, and a zero-width space follows each `@`.

    Call it exactly once. https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return text.translate(_ESCAPES)


def units(text: str) -> int:
    """Length in UTF-16 units: an emoji counts as two."""
    return len(text) + sum(character > "\uffff" for character in text)


def fit(text: str, limit: int) -> str:
    """The text escaped, or its longest start with an ellipsis, in at most `limit` units."""
    escaped = escape(text)
    if units(escaped) <= limit:
        return escaped
    sizes = accumulate(units(escape(character)) for character in text)
    kept = sum(size <= limit - len(ELLIPSIS) for size in sizes)
    return escape(text[:kept].rstrip(" \u200d")) + ELLIPSIS


def shorten(text: str, limit: int) -> str:
    """Unescaped text in at most `limit` characters, with an ellipsis where it was cut."""
    return text if len(text) <= limit else text[: limit - len(ELLIPSIS)].rstrip(" \u200d") + ELLIPSIS


def split(markup: str, *, size: int = MAX_SECTION, total: int = MAX_TOTAL) -> list[str]:
    """Markup that is escaped already, in pieces of at most `size` units and `total` units together.

    Never cuts inside an entity or a `<…>`; prefers the end of a line, then of a word. Pieces are not empty.
    """
    pieces: list[str] = []
    rest = [atom for atom in _ATOM.findall(markup.strip()) if units(atom) <= size]
    left = total
    while rest:
        limit = min(size, left - len(ELLIPSIS))
        if limit <= 0:
            break
        count = _count_that_fits(rest, limit)
        piece = "".join(rest[:count]).strip()
        rest = rest[count:]
        left -= units(piece)
        if piece:
            pieces.append(piece)
        if count == 0:
            break
    if rest and pieces:
        pieces[-1] = _with_ellipsis(pieces[-1], size)
    return pieces


def date(moment: datetime) -> str:
    """Slack's date markup, shown in each reader's own time zone, with UTC for whoever cannot show it.

    https://docs.slack.dev/messaging/formatting-message-text#date-formatting
    """
    fallback = moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"<!date^{int(moment.timestamp())}^{{date_short_pretty}} {{time}}|{fallback}>"


def _count_that_fits(atoms: list[str], limit: int) -> int:
    """How many atoms go into a piece; breaks at a space in its second half, if there is one."""
    count = 0
    used = 0
    while count < len(atoms) and (used := used + units(atoms[count])) <= limit:
        count += 1
    if count == len(atoms):
        return count
    for space in ("\n", " "):
        for position in range(count - 1, count // 2, -1):
            if atoms[position] == space:
                return position + 1
    return count


def _with_ellipsis(piece: str, size: int) -> str:
    atoms = _ATOM.findall(piece)
    while atoms and units("".join(atoms)) > size - len(ELLIPSIS):
        atoms.pop()
    return "".join(atoms).rstrip() + ELLIPSIS
