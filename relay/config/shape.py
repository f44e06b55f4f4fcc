"""What the Options models say about a key: its model, its kind of scalar, whether it is secret, an example of it."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, PlainValidator, SecretStr, WrapValidator
from pydantic.fields import FieldInfo

_EXAMPLES = {
    "url": "https://crm.example/hooks",
    "topic": "dyte.events",
    "bootstrap_servers": "[localhost:9092]",
    "path": '"-"',
    "name": "everything",
    "to": "[events]",
    "type": "http",
}
_OWN_READING = (BeforeValidator, PlainValidator, WrapValidator)


def field_type(field: FieldInfo) -> Any:
    """The annotation of a field, whole again."""
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def unwrap(annotation: Any) -> tuple[Any, bool]:
    """The bare type without `Annotated` and `| None`, and whether it reads its input by itself."""
    own = False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *metadata = get_args(annotation)
            own = own or any(isinstance(each, _OWN_READING) for each in metadata)
        elif get_origin(annotation) in (Union, UnionType):
            members = [member for member in get_args(annotation) if member is not type(None)]
            if len(members) != 1:
                return annotation, own
            annotation = members[0]
        else:
            return annotation, own


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The Options model that describes a mapping, if one does."""
    bare, _ = unwrap(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, BaseModel) else None


def scalar_kind(annotation: Any) -> type[bool | int | float] | None:
    """Which number or truth a scalar is read as; None: it stays a text."""
    bare, own = unwrap(annotation)
    return bare if bare in (bool, int, float) and not own else None


def allows_none(annotation: Any) -> bool:
    """Whether a key may be left empty."""
    if get_origin(annotation) is Annotated:
        return allows_none(get_args(annotation)[0])
    return get_origin(annotation) in (Union, UnionType) and type(None) in get_args(annotation)


def child_type(annotation: Any, key: str | int) -> Any:
    """What a key of a mapping or an item of a list is; the same again where only pydantic can tell."""
    model = model_of(annotation)
    if model is None:
        return annotation if get_args(annotation) else None
    field = model.model_fields.get(str(key))
    return field_type(field) if field is not None else None


def is_secret(annotation: Any) -> bool:
    """Whether a value of this type may be a secret."""
    return annotation is SecretStr or any(is_secret(argument) for argument in get_args(annotation))


def example(model: type[BaseModel] | None, key: str) -> str:
    """What somebody might write for a key."""
    field = model.model_fields.get(key) if model is not None else None
    if field is not None and field.examples:
        return str(field.examples[0])
    return _EXAMPLES.get(key, "…")
