"""Putting something around a function of the product, for the life of this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def wrap(owner: object, name: str, wrapper: Callable[[Any], Any]) -> None:
    """Replace `owner.name`, a module's function or a class's method, by what `wrapper` makes of it."""
    setattr(owner, name, wrapper(getattr(owner, name)))


def rewrite(owner: object, name: str, old: str, new: str) -> None:
    """Replace a part of a text of the product. It must be there, or the patch would quietly do nothing."""
    text = getattr(owner, name)
    assert old in text, f"{name} no longer holds {old!r}"
    setattr(owner, name, text.replace(old, new))
