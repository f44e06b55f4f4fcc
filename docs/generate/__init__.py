"""Parts of pages that are made out of the code at each build, so that they cannot fall behind it.

A page asks for one with a comment of its own line, `<!-- made: metrics -->`; see `PARTS` for what there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from docs.generate import alerts, commands, configuration, decisions, events, metrics, recipes

PARTS: Mapping[str, Callable[[str], str]] = {
    "alert": alerts.one,
    "commands": lambda _: commands.every(),
    "configuration": configuration.section,
    "decisions": lambda _: decisions.every(),
    "events": lambda _: events.every(),
    "examples": lambda _: events.examples(),
    "labels": lambda _: metrics.labels(),
    "metrics": lambda _: metrics.every(),
    "recipes": lambda _: recipes.every(),
}
"""What can be asked for, by name; the rest of the comment is told to it."""

_ASKED = re.compile(r"^<!-- made: (\w+) ?(.*?) -->$", re.MULTILINE)


def filled(markdown: str) -> str:
    """A page with all its parts.

    Raises:
        KeyError: it asks for a part that there is not.
    """
    return _ASKED.sub(lambda asked: PARTS[asked[1]](asked[2]), markdown)
