"""What every Options model is made of: strict keys, and the units that relay.yaml speaks (durations, sizes, rates).

An Options model describes one part of relay.yaml and validates itself; nobody below `app` ever sees the whole file.
"""

from __future__ import annotations

import re
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from relay.expression import Expression, ExpressionError
from relay.model import value


class Options(BaseModel):
    """Base of every part of relay.yaml: unknown keys are errors, nothing changes after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )


class Unfit(ValueError):
    """A value that does not fit. `what` never repeats the value, so that it may be said of a secret too."""

    def __init__(self, what: str, *, shown: str = "", said: str = "") -> None:
        """`said` is what to say in full, where the value may be shown; without it, `shown` and `what`."""
        super().__init__(said or (f"{shown} {what}" if shown else what))
        self.what = what


Secret = SecretStr
"""A text that cannot be printed; `get_secret_value()` where it is used, and nowhere else."""

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_DURATION = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)(ms|s|m|h|d)", re.ASCII)
_SIZE = re.compile(r"(\d{1,18})(B|KiB|MiB|GiB)?", re.ASCII)
_RATE = re.compile(r"(\d{1,18})/(s|m|h|d)", re.ASCII)


def parse_duration(text: object) -> timedelta:
    """`500ms 10s 5m 2h 7d`, or 0. Raises ValueError with what to write instead."""
    if isinstance(text, timedelta):
        return text
    if text in (0, "0"):
        return timedelta(0)
    match = _DURATION.fullmatch(str(text))
    if match is None:
        raise Unfit("is not a duration; write it like 500ms, 10s, 5m, 2h or 7d", shown=repr(text))
    seconds = float(match[1]) * _DURATION_UNITS[match[2]]
    if seconds > timedelta(days=36500).total_seconds():
        raise Unfit("is longer than a century", shown=repr(text))
    return timedelta(seconds=seconds)


def format_duration(duration: timedelta) -> str:
    """The shortest exact way to write a duration: the inverse of `parse_duration`."""
    milliseconds = round(duration.total_seconds() * 1000)
    if milliseconds == 0:
        return "0"
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def format_size(size: int) -> str:
    """The shortest exact way to write a size: the inverse of `parse_size`."""
    unit = next(unit for unit, factor in reversed(_SIZE_UNITS.items()) if size % factor == 0 and (size or factor == 1))
    return f"{size // _SIZE_UNITS[unit]}{unit}"


def parse_size(text: object) -> int:
    """`64KiB 1MiB`, in bytes. Raises ValueError with what to write instead."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise Unfit("is not a size; write it like 64KiB or 1MiB", shown=repr(text))
    return int(match[1]) * _SIZE_UNITS[match[2] or "B"]


@value
class Rate:
    """So many per so long."""

    count: int
    per: timedelta

    @property
    def per_second(self) -> float:
        """Events a second."""
        return self.count / self.per.total_seconds()

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _DURATION_UNITS.items() if seconds == self.per.total_seconds())
        return f"{self.count}/{unit}"

    @classmethod
    def parse(cls, text: object) -> Rate:
        """`1/s 300/m`. Raises ValueError with what to write instead."""
        if isinstance(text, Rate):
            return text
        match = _RATE.fullmatch(str(text))
        if match is None or int(match[1]) == 0:
            raise Unfit("is not a rate; write it like 1/s or 300/m", shown=repr(text))
        return cls(count=int(match[1]), per=timedelta(seconds=_DURATION_UNITS[match[2]]))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            cls.parse, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "pattern": r"^\d+/(s|m|h|d)$", "examples": ["1/s", "300/m"]}


def _parse_expression(text: object) -> Expression:
    if isinstance(text, Expression):
        return text
    if not isinstance(text, str):
        raise Unfit("must be a JMESPath expression in quotes")
    try:
        return Expression(text)
    except ExpressionError as error:
        raise Unfit("is not a JMESPath expression that can be used", said=f"{text!r} {error}") from error


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": r"^(0|\d+(\.\d+)?(ms|s|m|h|d))$"}, {"const": 0}],
            "examples": ["500ms", "10s", "5m", "2h", "7d"],
        }
    ),
]
Size = Annotated[
    int,
    BeforeValidator(parse_size),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": r"^\d+(B|KiB|MiB|GiB)$"}, {"type": "integer", "minimum": 0}],
            "examples": ["64KiB", "1MiB"],
        }
    ),
]
JmesPath = Annotated[
    Expression,
    BeforeValidator(_parse_expression),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "examples": ["recording.status == 'UPLOADED'"]}),
]


class Order(StrEnum):
    """In which order a sink gets its events."""

    MEETING = "meeting"
    NONE = "none"


class RetryOptions(Options):
    """How often and how long a failing delivery is tried again."""

    base: Duration = timedelta(seconds=1)
    """Upper bound of the first wait; each wait is drawn at random between zero and its bound (full jitter)."""
    factor: float = Field(default=2.0, ge=1.0, le=10.0)
    """By how much the bound grows after each attempt."""
    cap: Duration = timedelta(hours=1)
    """The bound stops growing here."""
    max_attempts: int = Field(default=20, ge=1)
    """After so many counted attempts a delivery is a dead letter."""
    max_age: Duration = timedelta(hours=72)
    """So long after the event was accepted, or last replayed, a delivery is a dead letter."""


_SHORTEST_KEY = 16


class LaneOptions(Options):
    """What every sink takes, whatever its type; its lane sees to it, and the sink itself never knows."""

    timeout: Duration = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How long one attempt may take."""
    concurrency: int = Field(default=32, ge=1, le=1000)
    """How many attempts run at the same time."""
    rate: Rate | None = None
    """At most so many attempts per time; without it, no limit."""
    order: Order = Order.NONE
    """`meeting`: events of one meeting arrive one after the other, in the order in which they were accepted."""
    enabled: bool = True
    """`false` stops sending; what routes choose meanwhile waits in the backlog and is not lost."""
    retry: RetryOptions = RetryOptions()
    """When and how often to try again."""
    select: JmesPath | None = None
    """JMESPath projection: send its result instead of the whole payload."""
    redact: tuple[str, ...] = ()
    """Dotted paths that are removed from the payload before it is sent."""
    pseudonymize: tuple[str, ...] = ()
    """Dotted paths whose values are replaced by a keyed hash before the payload is sent: consumers can still tell the
    same person from another, and join on it. Of the payload only; keys and attributes stay what they are."""
    pseudonym_key: Secret | None = None
    """The key for `pseudonymize`; sinks with the same key have the same hashes."""

    @model_validator(mode="after")
    def _has_pseudonym_key(self) -> Self:
        key = "" if self.pseudonym_key is None else self.pseudonym_key.get_secret_value()
        if self.pseudonymize and len(key) < _SHORTEST_KEY:
            raise Unfit(f"pseudonymize needs a pseudonym_key of at least {_SHORTEST_KEY} characters")
        return self

    @property
    def lease(self) -> timedelta:
        """How long a claimed delivery is out of everybody else's reach; longer than any attempt can last."""
        return max(timedelta(seconds=60), self.timeout * 3)

    def pacing_key(self, sink: str) -> str:
        """What `rate` is counted for: the sink itself, unless several share a destination that counts them together."""
        return sink
