"""Reading a payload for people: each function takes whatever is there and answers with a text, a number or None."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from relay.payload import Json, Payload
from relay.sinks.slack.text import clean, shorten

MAX_NAME = 80
"""Characters of a name or title that are shown."""
_LONGEST_READ = 2000  # of a hostile text of a mebibyte only the start is looked at
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LONGEST_DURATION = 10 * 365 * 86400.0
_LARGEST_SIZE = 1e18
_NUMBER = re.compile(r"\d{1,20}(\.\d{1,20})?", re.ASCII)
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{1,31}://\S*")
_STOP_REASON = re.compile(r"""['"]reason['"]\s*:\s*['"]([A-Za-z_]{1,64})['"]""")
_CODES = {
    "HOST_ENDED_MEETING": "The host ended it",
    "ALL_PARTICIPANTS_LEFT": "Everyone left",
    "ALL_PEERS_LEFT": "Everyone left",
    "API_CALL": "Stopped by an API call",
    "INTERNAL_ERROR": "An internal error",
}


def at(payload: Payload, path: str) -> Json:
    """What stands at a dotted path; None where nothing does."""
    value: Json = payload
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def said(value: Json) -> str:
    """A text or number as it may be shown: one clean line of at most `MAX_NAME` characters, not escaped yet.

    A link in it is left out: it may be a bearer secret (a presigned address), or bait in somebody's display name.
    """
    match value:
        case str():
            return shorten(_LINK.sub("(link)", clean(value[:_LONGEST_READ])), MAX_NAME)
        case bool():
            return ""
        case int() | float() if abs(value) < _LARGEST_SIZE:
            return f"{value:.15g}"
        case _:
            return ""


def name(payload: Payload, *paths: str) -> str:
    """The first of the paths that holds something to show; empty where none does."""
    return next((text for path in paths if (text := said(at(payload, path)))), "")


def code(value: Json) -> str:
    """An enumeration's value in words: known ones in a phrase, others without their capitals and underscores."""
    text = said(value)
    return _CODES.get(text, text.replace("_", " ").strip().capitalize())


def stop_reason(value: Json) -> str:
    """Why a recording stopped. An object in the REST API; in webhooks a text that looks like one in single quotes."""
    if isinstance(value, dict):
        return code(value.get("reason"))
    match = _STOP_REASON.search(value[:_LONGEST_READ]) if isinstance(value, str) else None
    return code(match[1]) if match else ""


def moment(value: Json) -> datetime | None:
    """A point in time in either format of the provider, with `T` or a space; UTC where no zone is given."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        parsed = parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return parsed if _EARLIEST <= parsed <= _LATEST else None


def number(value: Json, largest: float) -> float | None:
    """A positive number, also where it is written as a text."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= largest and math.isfinite(value) else None


def between(start: Json, end: Json) -> float | None:
    """Seconds from one point in time to another; None unless both are there and in order."""
    first, last = moment(start), moment(end)
    return number((last - first).total_seconds(), _LONGEST_DURATION) if first and last else None


def seconds(value: Json) -> float | None:
    """A duration in seconds."""
    return number(value, _LONGEST_DURATION)


def duration(value: Json) -> str:
    """Seconds in the two largest units: `47 s`, `12 min`, `1 h 5 min`, `2 d 3 h`. Empty where there are none."""
    length = seconds(value)
    if length is None:
        return ""
    if length < 59.5:
        return f"{max(1, round(length))} s"
    minutes = round(length / 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    return " ".join([f"{count} {unit}" for count, unit in parts if count][:2])


def size(value: Json) -> str:
    """Bytes in decimal units, as Slack itself shows files: `512 B`, `2.0 MB`. Empty where there are none."""
    amount = number(value, _LARGEST_SIZE)
    if amount is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def short(identifier: Json) -> str:
    """The start of an identifier: enough to tell it from others, and to find it."""
    text = said(identifier)
    return text if len(text) <= 12 else text[:8]
