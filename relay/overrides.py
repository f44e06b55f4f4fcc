"""Changes to a payload, written as dotted paths: how a route test makes an event of its own out of an example. Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence

from relay.payload import Json, Payload


class Unchangeable(ValueError):
    """An override that the given payload has no place for; the message says why."""


def overridden(payload: Payload, changes: Mapping[str, Json], without: Sequence[str]) -> Payload:
    """A copy with other values at dotted paths, and without what is left out. A whole number counts in a list.

    Raises:
        Unchangeable: there is no such place.
    """
    copied = copy.deepcopy(payload)
    for path, new in changes.items():
        _set(copied, path, new)
    for path in without:
        _remove(copied, path)
    return copied


def _set(holder: Json, path: str, new: Json) -> None:
    *steps, last = path.split(".")
    for step in steps:
        holder = _entered(holder, step, path)
    match holder:
        case dict():
            holder[last] = new
        case list() if last.isdecimal() and int(last) < len(holder):
            holder[int(last)] = new
        case _:
            raise Unchangeable(f"`{path}` cannot be set: what holds it is {_shown(holder)}")


def _entered(holder: Json, step: str, path: str) -> Json:
    """One step down; a mapping is made where nothing is."""
    match holder:
        case dict():
            if holder.get(step) is None:
                holder[step] = {}
            return holder[step]
        case list() if step.isdecimal() and int(step) < len(holder):
            return holder[int(step)]
        case _:
            raise Unchangeable(f"`{path}` cannot be set: what holds `{step}` is {_shown(holder)}")


def _remove(holder: Json, path: str) -> None:
    *steps, last = path.split(".")
    for step in steps:
        holder = holder.get(step) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or last not in holder:
        raise Unchangeable(f"`{path}` cannot be left out: it is not there")
    del holder[last]


def _shown(holder: Json) -> str:
    return json.dumps(holder, ensure_ascii=False)
