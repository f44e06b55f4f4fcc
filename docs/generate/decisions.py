"""The list of all decisions, made of their titles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "decisions"


def files() -> Sequence[Path]:
    """Each decision, the oldest first."""
    return sorted(FOLDER.glob("0*.md"))


def every() -> str:
    """A list of links."""
    return "".join(f"- [{_title(file)}]({file.name})\n" for file in files())


def _title(file: Path) -> str:
    first, _, _ = file.read_text("utf-8").partition("\n")
    return first.removeprefix("# ")
