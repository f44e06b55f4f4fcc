"""The list of all recipes, made of the headings of their pages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from docs.generate.words import table

COOKBOOK = Path(__file__).parents[1] / "cookbook"
PAGES = ("slack", "kafka", "http", "choosing", "privacy")

_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
_RECIPE = re.compile(r"^## (.+)$", re.MULTILINE)


def every() -> str:
    """A table of links, page by page."""
    return table(("Recipe", "Of"), _rows())


def _rows() -> Iterator[tuple[str, str]]:
    for name in PAGES:
        page = (COOKBOOK / f"{name}.md").read_text("utf-8")
        kind = _TITLE.findall(page)[0].removesuffix(" recipes").removeprefix("Recipes for ")
        for heading in _RECIPE.findall(page):
            yield f"[{heading}]({name}.md#{_anchor(heading)})", kind[0].upper() + kind[1:]


def _anchor(heading: str) -> str:
    """As Python-Markdown makes it; the build fails where it does not."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
