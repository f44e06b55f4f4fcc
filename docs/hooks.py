"""What MkDocs does on the way: fills in what is made out of the code, lists the decisions, and looks at the result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

from docs.generate import decisions, filled

_LOADED = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)[^>]*>")
"""Elements that a browser fetches by itself; a plain link it does not."""
_ONLY_NAMED = re.compile(r"\brel=[\"']?(canonical|alternate|next|prev)\b")


def on_config(config: Any) -> Any:
    """Each decision has its place in the navigation, also one that is added tomorrow."""
    pages = ["decisions/README.md", *(f"decisions/{file.name}" for file in decisions.files())]
    project = next(entry["Project"] for entry in config.nav if "Project" in entry)
    project.insert(0, {"Decisions": pages})
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in what is made out of the code."""
    return filled(markdown)


def on_post_build(config: Any) -> None:
    """The site works without a network: no page fetches anything from elsewhere.

    Raises:
        PluginError: one does.
    """
    for page in Path(config.site_dir).rglob("*.html"):
        for loaded in _LOADED.finditer(page.read_text("utf-8")):
            if not _ONLY_NAMED.search(loaded[0]):
                raise PluginError(f"{page.relative_to(config.site_dir)} fetches {loaded[1]}; keep a copy in docs/")
