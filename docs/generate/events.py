"""Every event of the catalogue: when it fires, what it looks like from either provider, and what its fields mean."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel

from docs.generate.words import block, code, table
from relay.events import CATALOGUE
from relay.simulator import EXAMPLES, Provider, example

_PROVIDERS: Sequence[tuple[Provider, str]] = (("dyte", "Dyte"), ("realtimekit", "RealtimeKit"))


def every() -> str:
    """All events, in the order of the catalogue."""
    return "\n".join(_event(name, model) for name, model in CATALOGUE.items())


def examples() -> str:
    """The names of all bundled examples."""
    return ", ".join(map(code, EXAMPLES)) + "."


def _event(name: str, model: type[BaseModel]) -> str:
    told = "\n\n".join(line.strip() for line in (model.__doc__ or "").split("\n\n"))
    return f"## {name}\n\n{told}\n\n{_examples(name)}\n{table(('Path', 'Meaning'), _fields(model))}"


def _examples(name: str) -> str:
    """The bundled example of each provider, in a tab each."""
    tabs = []
    for provider, title in _PROVIDERS:
        text = json.dumps(example(name, provider=provider), indent=2, ensure_ascii=False)
        lines = "".join(f"    {line}\n" for line in block(text, "json").splitlines())
        tabs.append(f'=== "{title}"\n\n{lines}')
    return "\n".join(tabs)


def _fields(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, str]]:
    """Each path that a `where` may name, as it is written in the payload."""
    for field_name, field in model.model_fields.items():
        if field_name == "event":
            continue
        path = above + (field.serialization_alias or field.alias or field_name)
        part = _part(field.annotation)
        if part is None:
            yield code(path), field.description or ""
        else:
            yield from _fields(part, f"{path}.")


def _part(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, however it is wrapped; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _part(inner)) is not None), None)
