"""A message as a picture in characters: what a terminal shows of what Slack would."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from html import unescape
from itertools import zip_longest
from textwrap import wrap
from typing import Any

from relay.sinks.slack.text import clean

_WIDTH = 72
_NARROWEST = 32
_LABEL_WIDTH = 18
_ANGLE = re.compile(r"<([^<>|]*)(?:\|([^<>]*))?>")


def picture(message: dict[str, Any], *, emoji: Callable[[str], str] = str) -> str:
    """The message in a frame, dates in UTC. Never raises, and no line holds a control.

    `emoji` turns the names in a text (`:tada:`) into the characters; without it the names stay.
    """
    message = _with_texts(message, emoji)
    blocks = message.get("blocks")
    if isinstance(blocks, list) and blocks:
        groups = [lines for block in blocks if (lines := list(_block(block)))]
    else:
        groups = [_wrapped(_shown(message.get("text")))]
    width = max([_NARROWEST, *(columns(line) for lines in groups for line in lines)])
    rule = "─" * (width + 2)
    body = f"\n├{rule}┤\n".join("\n".join(f"│ {_padded(line, width)} │" for line in lines) for lines in groups)
    return f"╭{rule}╮\n{body}\n╰{rule}╯"


def columns(text: str) -> int:
    """How many columns of a terminal a text takes: East Asian wide characters and emoji take two, accents none."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character) or character in "\u200b\u200c\u200d\ufe0f":
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


def _block(block: Any) -> Iterator[str]:
    if not isinstance(block, dict):
        return
    if elements := _texts(block.get("elements")):
        yield from _wrapped(" · ".join(elements))
    if text := _shown(block.get("text")):
        for line in text.split("\n"):
            yield from _wrapped(line)
    fields = iter(_texts(block.get("fields")))
    for label, content in zip_longest(fields, fields, fillvalue=""):
        yield from _row(label.strip("*"), content)


def _row(label: str, content: str) -> Iterator[str]:
    lines = _wrapped(content, _WIDTH - _LABEL_WIDTH)
    for position, line in enumerate(lines):
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


def _wrapped(text: str, width: int = _WIDTH) -> list[str]:
    return wrap(text, width) or [""]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))
