"""Numbered, forward-only SQL migrations, a folder for each kind of store."""

from __future__ import annotations

import re
from importlib import resources

from relay.model import value

_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")


@value
class Migration:
    """One step, applied in one transaction together with its number."""

    number: int
    sql: str
    name: str = ""
    """What it is about, in a word or two."""


def migrations(kind: str) -> list[Migration]:
    """The steps of a store kind (the name of a folder here), in order, numbered from 1 without a gap."""
    folder = resources.files(__name__) / kind
    steps = [
        Migration(number=int(match[1]), sql=file.read_text("utf-8"), name=match[2].replace("_", " "))
        for file in folder.iterdir()
        if (match := _NAME.fullmatch(file.name))
    ]
    return sorted(steps, key=lambda step: step.number)
