"""What must not stand where people read it: a livestream's key, addresses that open a file without a login. Pure.

The sender puts both into bodies that it signs: https://docs.dyte.io/guides/capabilities/webhooks/webhook-events. They
are told by name and by form, because the names have changed before.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from relay.payload import Json

CONCEALED = "[hidden]"
"""Stands for what is not shown."""

_NAME = re.compile(
    r".*(stream|access|secret|api|private|rtmp)[_ -]?keys?|.*(download_?url|secret|token|pass(word|phrase))",
    re.IGNORECASE,
)
_PRESIGNED = re.compile(
    r"\s*\w+://.*[?&;]"
    r"(x-(amz|goog)-(signature|credential|security-token)|signature|sig|policy|key-pair-id|(access_)?token|jwt)=",
    re.IGNORECASE | re.DOTALL,
)


def concealed(payload: Json, *, reveal: Collection[str] = ()) -> Json:
    """A copy with `CONCEALED` in the place of what is sensitive, but for the dotted paths in `reveal`; inside a list a
    path holds for each element."""
    return _concealed(payload, "", frozenset(reveal))


def _concealed(value: Json, path: str, reveal: frozenset[str]) -> Json:
    match value:
        case dict():
            return {key: _field(key, inner, f"{path}.{key}" if path else key, reveal) for key, inner in value.items()}
        case list():
            return [_concealed(inner, path, reveal) for inner in value]
        case str() if path not in reveal and _PRESIGNED.match(value):
            return CONCEALED
        case _:
            return value


def _field(name: str, value: Json, path: str, reveal: frozenset[str]) -> Json:
    if path in reveal:
        return value
    if _NAME.fullmatch(name) and value not in (None, "", False, True):
        return CONCEALED
    return _concealed(value, path, reveal)
