"""What of a payload is sent: `redact` removes, then `select` projects; without either, the signed bytes. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import orjson

from relay.errors import Rejected
from relay.expression import Expression, ExpressionError
from relay.model import Delivery, Reason
from relay.payload import Defect, Json


def represent(delivery: Delivery, *, select: Expression | None, redact: Sequence[str]) -> Delivery:
    """The delivery with the body that its sink shall get.

    Raises:
        Rejected: the body cannot be read, so nothing can be removed from it; or `select` fails on it.
    """
    if select is None and not redact:
        return delivery
    if delivery.event.defect not in (None, Defect.NO_TYPE):  # without a type, but an object: there is what to remove
        raise Rejected(Reason.TEMPLATE, f"the body cannot be redacted or projected: it is {delivery.event.defect}")
    payload: Json = redacted(delivery.event.payload, redact)
    if select is not None:
        try:
            payload = select.search(payload)
        except ExpressionError as error:
            raise Rejected(Reason.TEMPLATE, f"select: {error}") from error
    try:
        return replace(delivery, body=orjson.dumps(payload))
    except orjson.JSONEncodeError as error:  # `&a`, half an emoji in a literal, a sum past 64 bits
        raise Rejected(Reason.TEMPLATE, "select: its result cannot be written as JSON") from error


def redacted(payload: Json, paths: Sequence[str]) -> Json:
    """A copy without what the dotted paths name; inside a list a path holds for each element."""
    if not paths:
        return payload
    remaining = copy.deepcopy(payload)
    for path in paths:
        _remove(remaining, path.split("."))
    return remaining


def _remove(value: Json, keys: Sequence[str]) -> None:
    if isinstance(value, list):
        for element in value:
            _remove(element, keys)
    elif isinstance(value, dict):
        if len(keys) == 1:
            value.pop(keys[0], None)
        else:
            _remove(value.get(keys[0]), keys[1:])
