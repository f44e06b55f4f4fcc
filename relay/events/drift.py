"""How an event differs from the catalogue: what the sender has begun to send, or now sends in another form. Pure.

Fast and bounded, because it looks at what comes in, and others may have chosen its names: of an object it looks up the
keys, and goes into known parts only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, TypeAlias, get_args, get_origin

from pydantic import AliasChoices, BeforeValidator, ConfigDict, TypeAdapter
from pydantic.fields import FieldInfo

from relay.events import CATALOGUE
from relay.events.reading import Part, read_number, read_timestamp
from relay.model import value
from relay.payload import Json, Payload

MOST = 20
"""Differences that are told of one event. One that has more has nothing to do with the catalogue."""
_LONGEST = 64
"""Characters of a name that is told."""
_LONGEST_READ = 256
"""Characters of a time, a number or a switch that is still read."""
_WORD = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)


class Kind(StrEnum):
    """What kind of difference. Closed: each value is a metric label."""

    UNKNOWN_EVENT = "unknown_event"
    UNKNOWN_FIELD = "unknown_field"
    UNREADABLE_FIELD = "unreadable_field"
    """Known, and of a form that the model cannot read: it becomes None."""
    UNKNOWN_VALUE = "unknown_value"
    """Not among the words that are documented for this field; the model keeps it as a text."""


@value
class Difference:
    """One thing that the catalogue does not know."""

    kind: Kind
    path: str
    """Dotted, short and printable, whatever the sender wrote."""
    word: str | None = None
    """The unknown value, where it looks like the others: in capitals."""


def differences(payload: Payload) -> Sequence[Difference]:
    """What of an event the catalogue does not know, `MOST` at most. Unknown fields are not looked into."""
    name = payload.get("event")
    model = CATALOGUE.get(name) if isinstance(name, str) else None
    if model is None:
        return [Difference(kind=Kind.UNKNOWN_EVENT, path="event")]
    found: list[Difference] = []
    _compare(payload, _known(model), "", found)
    return found


@value
class _Field:
    """How to judge one known field."""

    fits: frozenset[type]
    """Types that need no closer look."""
    reads: Callable[[Any], object]
    """Raises a `ValueError` where the model cannot read it."""
    words: frozenset[str] = frozenset()
    """The documented values, if it has such."""
    inside: _Known | None = None
    """Its own fields, if it is a part."""


_Known: TypeAlias = Mapping[str, _Field]


def _compare(payload: Payload, known: _Known, prefix: str, found: list[Difference]) -> None:
    for name, sent in payload.items():
        if len(found) >= MOST:
            return
        field = known.get(name)
        if field is None:
            found.append(Difference(kind=Kind.UNKNOWN_FIELD, path=prefix + _shown(name)))
        elif sent is None:
            continue
        elif field.inside is not None and isinstance(sent, dict):
            _compare(sent, field.inside, f"{prefix}{name}.", found)
        elif type(sent) not in field.fits and not _readable(sent, field):
            found.append(Difference(kind=Kind.UNREADABLE_FIELD, path=prefix + name))
        elif field.words and sent not in field.words:
            word = sent if isinstance(sent, str) and _WORD.fullmatch(sent) else None
            found.append(Difference(kind=Kind.UNKNOWN_VALUE, path=prefix + name, word=word))


def _readable(sent: Json, field: _Field) -> bool:
    """What is large is none of these: it is not read, because the error would repeat all of it."""
    large = isinstance(sent, dict | list) or (isinstance(sent, str) and len(sent) > _LONGEST_READ)
    return not large and _reads(field.reads, sent)


def _reads(reads: Callable[[Any], object], sent: Json) -> bool:
    try:
        reads(sent)
    except ValueError:
        return False
    return True


def _shown(name: str) -> str:
    start = name[:_LONGEST]
    printable = start if start.isprintable() else ascii(start)[1:-1]
    return printable if len(name) <= _LONGEST >= len(printable) else printable[: _LONGEST - 1] + "…"


# What is known, read off the models once


@cache
def _known(model: type[Part]) -> _Known:
    return {
        name: _field(field) for own, field in model.model_fields.items() for name in _names(field) if own != "event"
    } | {"event": _EVENT}


def _names(field: FieldInfo) -> Sequence[str]:
    if isinstance(field.validation_alias, AliasChoices):
        return [str(name) for name in field.validation_alias.choices]
    return [str(field.validation_alias)]


def _field(field: FieldInfo) -> _Field:
    types, reads = list(_types(field.annotation)), _reader(field)
    parts = [each for each in types if issubclass(each, Part)]
    fits = {each for each in types if each in (str, bool, dict)}
    if parts and _reads(reads, "any text"):
        fits.add(str)
    return _Field(
        fits=frozenset(fits),
        reads=reads,
        words=frozenset(word.value for each in types if issubclass(each, StrEnum) for word in each),
        inside=_known(parts[0]) if parts else None,
    )


def _reader(field: FieldInfo) -> Callable[[Any], object]:
    """A function of ours where it does all the reading; else pydantic, which takes longer."""
    for inner in get_args(field.annotation):
        match getattr(inner, "__metadata__", ()):
            case [BeforeValidator(func=read)] if read in _DO_IT_ALL:
                return read
    declared: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(declared, config=ConfigDict(coerce_numbers_to_str=True)).validate_python


def _types(annotation: Any) -> Iterator[type]:
    """The classes that an annotation is made of."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        yield annotation
    elif get_origin(annotation) is dict:
        yield dict
    elif get_origin(annotation) is Annotated:
        yield from _types(get_args(annotation)[0])
    else:
        for inner in get_args(annotation):
            yield from _types(inner)


_DO_IT_ALL = (read_number, read_timestamp)
_EVENT = _Field(fits=frozenset({str}), reads=str)
