"""A card, and how it becomes a message within Slack's limits.

https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias

from relay.model import value
from relay.sinks.slack.text import MAX_TEXT, clean, date, fit

Message: TypeAlias = dict[str, Any]
Block: TypeAlias = dict[str, Any]

MAX_BLOCKS = 40
"""Slack takes 50; a card has far fewer."""
MAX_HEADER = 150
MAX_FIELD = 2000
MAX_CONTEXT = 400
_ROWS_A_SECTION = 5
"""A section has ten fields, and a row takes two: the label and the value beside it."""
_MAX_ROWS = 20


@value
class Row:
    """A label, and what stands beside it."""

    label: str
    content: str | datetime


@value
class Card:
    """What a message says. Texts are clean, short and not escaped yet."""

    emoji: str
    headline: str
    rows: Sequence[Row] = ()


def row(label: str, content: str | datetime | None) -> list[Row]:
    """A row, or none where there is nothing to show."""
    return [Row(label=label, content=content)] if content else []


def message(card: Card, *, context: Sequence[str], marks: Sequence[str] = ()) -> Message:
    """The message that shows a card. `context` is said in small print, after the `marks`, which are markup of ours."""
    header = {"type": "header", "text": _plain(f"{card.emoji} {card.headline}", MAX_HEADER, emoji=True)}
    rows = card.rows[:_MAX_ROWS]
    sections = [_section(rows[start : start + _ROWS_A_SECTION]) for start in range(0, len(rows), _ROWS_A_SECTION)]
    small = [_markup(mark) for mark in marks] + [_plain(text, MAX_CONTEXT) for text in context if text]
    footer = [{"type": "context", "elements": small[:10]}] if small else []
    return envelope(_summary(card), [header, *sections, *footer])


def envelope(text: str, blocks: Sequence[Block] = ()) -> Message:
    """A message that unfolds no link. `text`, escaped already, is for notifications where there are blocks."""
    return {"text": text, "unfurl_links": False, "unfurl_media": False} | ({"blocks": list(blocks)} if blocks else {})


def markup_blocks(pieces: Sequence[str]) -> list[Block]:
    """Sections of markup that is escaped already. `verbatim`: addresses and names in it do not become links."""
    return [{"type": "section", "text": _markup(piece)} for piece in pieces[:MAX_BLOCKS]]


def _section(rows: Sequence[Row]) -> Block:
    return {"type": "section", "fields": [field for each in rows for field in _fields(each)]}


def _fields(each: Row) -> list[Block]:
    content = each.content
    shown = _markup(date(content)) if isinstance(content, datetime) else _plain(content, MAX_FIELD)
    return [_markup(f"*{fit(each.label, MAX_FIELD)}*"), shown]


def _summary(card: Card) -> str:
    texts = [each.content for each in card.rows if isinstance(each.content, str)]
    return fit(" · ".join([card.headline, *texts[:3]]), MAX_TEXT)


def _plain(text: str, limit: int, *, emoji: bool = False) -> Block:
    """Text in which Slack sees neither markup nor mentions; with `emoji`, `:names:` in it become pictures."""
    return {"type": "plain_text", "text": fit(clean(text) or "-", limit), "emoji": emoji}


def _markup(text: str) -> Block:
    return {"type": "mrkdwn", "text": text, "verbatim": True}
