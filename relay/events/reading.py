"""Reading what the sender writes, however it writes it this year: tolerant values and a tolerant base model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

_NUMBER = re.compile(r"[+-]?\d{1,30}(\.\d{1,30})?([eE][+-]?\d{1,3})?", re.ASCII)
_EXACT = 2**53
"""Up to here, a number of JavaScript is exact."""


def read_timestamp(value: object) -> datetime:
    """An aware time, of ISO 8601 (`2026-06-03T10:00:00.000Z`) or Dyte's other form (`2023-04-14 04:46:08.306221Z`).

    A text without an offset counts as UTC. Numbers are not read: nobody documents their unit.
    """
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise ValueError("not a time")
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def read_number(value: object) -> int | float:
    """A finite number, also where it is written as a text, as RealtimeKit writes `fileSize`; whole ones as int."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value) if value.lstrip("+-").isdigit() else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("not a number")
    return int(value) if value == value // 1 and abs(value) <= _EXACT else value


Timestamp: TypeAlias = Annotated[datetime, BeforeValidator(read_timestamp, json_schema_input_type=str)]
"""An aware datetime."""

Number: TypeAlias = Annotated[int | float, BeforeValidator(read_number, json_schema_input_type=int | float | str)]
"""A number, or a text that holds one."""


class Part(BaseModel):
    """An object in an event. Every field may be missing or null; unknown fields are kept in `model_extra`.

    A field whose value cannot be read never fails the object: it becomes None, and `unreadable` holds what was sent.
    `repr` shows neither secrets (presigned URLs, stream keys) nor unknown fields, which might be some.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        coerce_numbers_to_str=True,
        extra="allow",
        field_title_generator=lambda name, _: name.replace("_", " ").capitalize(),
        frozen=True,
        hide_input_in_errors=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )

    _unreadable: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def unreadable(self) -> dict[str, Any]:
        """Dotted path of each field that could not be read, with the value as sent: `{"recording.fileSize": "abc"}`."""
        found = dict(self._unreadable)
        for name, field in type(self).model_fields.items():
            if isinstance(part := getattr(self, name), Part):
                found |= {f"{field.serialization_alias}.{path}": raw for path, raw in part.unreadable.items()}
        return found

    @model_validator(mode="wrap")
    @classmethod
    def _set_unreadable_aside(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if not isinstance(data, Mapping):
            return handler(data)
        unread: dict[str, Any] = {}
        while True:  # pydantic stops at keys that it refuses, and blames values only without them; each turn has fewer
            remaining = {key: raw for key, raw in data.items() if key not in unread}
            try:
                part = handler(remaining)
            except ValidationError as error:
                blamed = _blamed(error, remaining)
                if not blamed or "event" in blamed:  # an object that is none, or of another event's type
                    raise
                unread |= blamed
            else:
                part._unreadable.update(unread)  # noqa: SLF001 - its own
                return part

    # The plugin reports the alias generator at a class's last statement; these are parsed, not made by keyword.
    def __repr_args__(self) -> Any:  # type: ignore[pydantic-alias]
        """Known fields that are set and no secret."""
        shown = (name for name, field in type(self).model_fields.items() if field.repr)
        return [(name, value) for name in shown if (value := getattr(self, name)) is not None]


def _blamed(error: ValidationError, data: dict[str, Any]) -> dict[str, Any]:
    """The values that an error blames, by the key they were sent under."""
    details = error.errors(include_url=False, include_context=False, include_input=False)
    keys = {detail["loc"][0] for detail in details if detail["loc"]}
    return {key: raw for key, raw in data.items() if key in keys or not _is_text(key)}


def _is_text(key: object) -> bool:
    """Whether it is a text that can be encoded: `json.loads` makes keys with half an emoji, which pydantic refuses."""
    return isinstance(key, str) and key.encode(errors="replace").decode() == key
