"""Texts that hold U+0000, which PostgreSQL refuses: it and the character that escapes it are written as two.

The order of texts stays as it was. A connection does it by itself for single texts; what goes out in an array is
escaped by `stored`.
"""

from __future__ import annotations

_NUL, _ESCAPE = b"\x00", b"\x01"
_ESCAPED_NUL, _ESCAPED_ESCAPE = b"\x01\x01", b"\x01\x02"


def encode(text: str) -> bytes:
    """A text as the server gets it. Raises UnicodeEncodeError for lone surrogates."""
    return text.encode().replace(_ESCAPE, _ESCAPED_ESCAPE).replace(_NUL, _ESCAPED_NUL)


def decode(stored: bytes) -> str:
    """The inverse of `encode`."""
    if _ESCAPE not in stored:
        return stored.decode()
    return stored.replace(_ESCAPED_NUL, _NUL).replace(_ESCAPED_ESCAPE, _ESCAPE).decode()


def stored(text: str) -> str:
    """A text of an array, as the server gets it."""
    return text.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")


def stored_or_none(text: str | None) -> str | None:
    """The same of one that may be absent."""
    return None if text is None else stored(text)


def restored(text: str) -> str:
    """The inverse of `stored`."""
    return decode(text.encode())
