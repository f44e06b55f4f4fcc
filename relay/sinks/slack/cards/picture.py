"""A message as a picture in characters: what a terminal shows of what Slack would."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from html import unescape
from itertools import pairwise, zip_longest
from typing import Any

from relay.sinks.slack.text import clean

_WIDTH = 72
_NARROWEST = 32
_LABEL_WIDTH = 18
_AS_EMOJI = "\ufe0f"
_ANGLE = re.compile(r"<([^<>|]*)(?:\|([^<>]*))?>")


def picture(message: dict[str, Any], *, emoji: Callable[[str], str] = str) -> str:
    """The message in a frame, dates in UTC. Never raises, and no line holds a control.

    `emoji` turns the names in a text (`:tada:`) into the characters; without it the names stay.
    """
    groups = _groups(_with_texts(message, emoji))
    width = max([_NARROWEST, *(columns(line) for lines in groups for line in lines)])
    rule = "─" * (width + 2)
    body = f"\n├{rule}┤\n".join("\n".join(f"│ {_padded(line, width)} │" for line in lines) for lines in groups)
    return f"╭{rule}╮\n{body}\n╰{rule}╯"


def readable(message: dict[str, Any]) -> str:
    """What a picture shows, without its frame: one line for each row, not wrapped. Never raises."""
    return "\n".join(line for lines in _groups(message, width=None) for line in lines)


def _groups(message: dict[str, Any], width: int | None = _WIDTH) -> list[list[str]]:
    """The lines of each block, those of sections together; of a message without blocks, those of its text."""
    blocks = message.get("blocks")
    if not isinstance(blocks, list) or not blocks:
        return [_wrapped(_shown(message.get("text")), width)]
    groups: list[list[str]] = []
    for before, block in pairwise([None, *blocks]):
        lines = list(_block(block, width))
        if groups and _is_section(before) and _is_section(block):
            groups[-1] += lines  # as Slack shows them: one after the other
        elif lines:
            groups.append(lines)
    return groups


def _is_section(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "section"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters and emoji take two, accents none."""
    return sum(_columns(character, before) for before, character in pairwise(f" {text}"))


def _columns(character: str, before: str) -> int:
    if character == _AS_EMOJI:
        return 1 if _columns(before, "") == 1 else 0  # it makes an emoji of a sign, and so wide
    if unicodedata.combining(character) or character in "\u200b\u200c\u200d":
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A copy with every text changed; before anything is measured, because an emoji is shorter than its name."""
    match value:
        case str():
            return change(value)
        case list():
            return [_with_texts(element, change) for element in value]
        case dict():
            return {key: _with_texts(element, change) for key, element in value.items()}
        case _:
            return value


def _block(block: Any, width: int | None) -> Iterator[str]:
    if not isinstance(block, dict):
        return
    if elements := _texts(block.get("elements")):
        yield from _wrapped(" · ".join(elements), width)
    if text := _shown(block.get("text")):
        for line in text.split("\n"):
            yield from _wrapped(line, width)
    fields = iter(_texts(block.get("fields")))
    for label, content in zip_longest(fields, fields, fillvalue=""):
        yield from _row(label.strip("*"), content, width)


def _row(label: str, content: str, width: int | None) -> Iterator[str]:
    if width is None:
        yield f"{label}  {content}"
        return
    for position, line in enumerate(_wrapped(content, width - _LABEL_WIDTH)):
        yield _padded(label if position == 0 else "", _LABEL_WIDTH) + line


def _texts(elements: Any) -> list[str]:
    return [_shown(element) for element in elements] if isinstance(elements, list) else []


def _shown(text: Any) -> str:
    """A text object, or a bare text, as the reader sees it: links and dates by their label, entities decoded."""
    markup = text.get("text") if isinstance(text, dict) else text
    if not isinstance(markup, str):
        return ""
    labelled = _ANGLE.sub(lambda match: match[2] or match[1], markup)
    return "\n".join(clean(unescape(line)) for line in labelled.split("\n"))


def _wrapped(text: str, width: int | None) -> list[str]:
    """The text in lines of at most so many columns, which `textwrap` does not count."""
    if width is None or columns(text) <= width:
        return [text]
    lines = [""]
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if columns(joined) <= width:
            lines[-1] = joined
        else:
            pieces = list(_pieces(word, width))
            lines += pieces
    return [line for line in lines if line]


def _pieces(word: str, width: int) -> Iterator[str]:
    """A word, cut where it is wider than a line."""
    piece = ""
    for character in word:
        if columns(piece + character) > width:
            yield piece
            piece = ""
        piece += character
    yield piece


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))
