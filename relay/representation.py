"""What of a payload is sent: `redact` removes, `pseudonymize` hashes, then `select` projects; without any of them, the
signed bytes. Pure.
"""

from __future__ import annotations

import copy
import hmac
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson

from relay.errors import Rejected
from relay.expression import Expression, ExpressionError
from relay.model import Delivery, Reason, value
from relay.options import LaneOptions
from relay.payload import Defect, Json

_HASH_CHARACTERS = 32
"""Hex digits of a pseudonym: 128 bits, so that no two of a company's people ever share one."""


@value
class Shape:
    """What a sink wants of a payload."""

    select: Expression | None = None
    redact: Sequence[str] = ()
    pseudonymize: Sequence[str] = ()
    key: bytes = b""

    @classmethod
    def of(cls, options: LaneOptions) -> Shape:
        """The shape that these options ask for."""
        key = b"" if options.pseudonym_key is None else options.pseudonym_key.get_secret_value().encode()
        return cls(select=options.select, redact=options.redact, pseudonymize=options.pseudonymize, key=key)

    @property
    def changes_nothing(self) -> bool:
        """Whether the signed bytes go out as they are."""
        return self.select is None and not self.redact and not self.pseudonymize


@value
class Changes:
    """What a shape changes in one payload."""

    removed: Sequence[str] = ()
    """Paths of `redact` that were there."""
    hashed: Sequence[str] = ()
    """Paths of `pseudonymize` that were there."""
    absent: Sequence[str] = ()
    """Paths of either that this payload does not have."""
    projected: bool = False
    """Whether `select` made something else of the rest."""


def changes(delivery: Delivery, shape: Shape) -> Changes:
    """What `represent` does to this delivery. Total: of what cannot be read nothing is removed, and nothing is sent."""
    payload: Json = delivery.event.payload
    removed = tuple(path for path in shape.redact if _is_there(payload, path))
    left = redacted(payload, removed)
    hashed = tuple(path for path in shape.pseudonymize if _is_there(left, path))
    asked = dict.fromkeys((*shape.redact, *shape.pseudonymize))
    absent = tuple(path for path in asked if path not in (*removed, *hashed))
    return Changes(removed=removed, hashed=hashed, absent=absent, projected=shape.select is not None)


def represent(delivery: Delivery, shape: Shape) -> Delivery:
    """The delivery with the body that its sink shall get.

    Raises:
        Rejected: the body cannot be read, so nothing can be removed from it; or `select` fails on it.
    """
    if shape.changes_nothing:
        return delivery
    if delivery.event.defect not in (None, Defect.NO_TYPE):  # without a type, but an object: there is what to remove
        raise Rejected(Reason.TEMPLATE, f"the body cannot be redacted or projected: it is {delivery.event.defect}")
    payload: Json = redacted(delivery.event.payload, shape.redact)
    payload = pseudonymized(payload, shape.pseudonymize, key=shape.key)
    if shape.select is not None:
        try:
            payload = shape.select.search(payload)
        except ExpressionError as error:
            raise Rejected(Reason.TEMPLATE, f"select: {error}") from error
    try:
        return replace(delivery, body=orjson.dumps(payload))
    except orjson.JSONEncodeError as error:  # `&a`, half an emoji in a literal, a sum past 64 bits
        raise Rejected(Reason.TEMPLATE, "select: its result cannot be written as JSON") from error


def redacted(payload: Json, paths: Sequence[str]) -> Json:
    """A copy without what the dotted paths name; inside a list a path holds for each element."""
    return _changed(payload, paths, lambda holder, name: holder.pop(name))


def pseudonymized(payload: Json, paths: Sequence[str], *, key: bytes) -> Json:
    """A copy with a keyed hash in the place of what the paths name: who has no key cannot tell whom it stands for, and
    the same value has the same hash in every event."""
    return _changed(payload, paths, partial(_hash, key))


def _hash(key: bytes, holder: dict[str, Json], name: str) -> None:
    """HMAC-SHA256 over a text's UTF-8, or over the JSON of anything else with sorted keys; of nothing, nothing."""
    found = holder[name]
    if found is not None:
        text = found.encode() if isinstance(found, str) else orjson.dumps(found, option=orjson.OPT_SORT_KEYS)
        holder[name] = hmac.digest(key, text, "sha256").hex()[:_HASH_CHARACTERS]


def _changed(payload: Json, paths: Sequence[str], change: Callable[[dict[str, Json], str], Any]) -> Json:
    if not paths:
        return payload
    copied = copy.deepcopy(payload)
    for path in paths:
        _change(copied, path.split("."), change)
    return copied


def _change(holder: Json, keys: Sequence[str], change: Callable[[dict[str, Json], str], Any]) -> None:
    if isinstance(holder, list):
        for element in holder:
            _change(element, keys, change)
    elif isinstance(holder, dict) and keys[0] in holder:
        if len(keys) == 1:
            change(holder, keys[0])
        else:
            _change(holder[keys[0]], keys[1:], change)


def _is_there(payload: Json, path: str) -> bool:
    return any(True for _ in _found(payload, path.split(".")))


def _found(holder: Json, keys: Sequence[str]) -> Iterator[Json]:
    """What stands at a path, as `_change` walks it."""
    if isinstance(holder, list):
        for element in holder:
            yield from _found(element, keys)
    elif isinstance(holder, dict) and keys[0] in holder:
        if len(keys) == 1:
            yield holder[keys[0]]
        else:
            yield from _found(holder[keys[0]], keys[1:])
