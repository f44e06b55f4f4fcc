"""The results of a run, for people (Markdown and SVG) and for machines (JSON)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from bench.results import Section, Target
from bench.run import Settings
from relay.model import value

_MARKS = {True: "**met**", False: "**not met**", None: "not measured"}


@value
class Report:
    """One run."""

    command: str
    began: datetime
    minutes: float
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Settings
    median_body: int
    sections: Sequence[Section]
    missing: Mapping[str, str]
    """Scenarios that could not be run, and why."""

    @property
    def targets(self) -> Sequence[Target]:
        """All of them."""
        return [target for section in self.sections for target in section.targets]

    def write(self, folder: Path) -> None:
        """Write all files, in the place of older ones."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.json").write_bytes(self.json())
        (folder / "report.md").write_text(self.markdown())
        for section in self.sections:
            for chart in section.charts:
                (folder / f"{chart.name}.svg").write_text(chart.svg())

    def json(self) -> bytes:
        """Every figure of every turn."""
        known = {
            "command": self.command,
            "date": self.began,
            "minutes": round(self.minutes, 1),
            "machine": self.machine,
            "versions": self.versions,
            "settings": self.settings,
            "median_body": self.median_body,
            "targets": self.targets,
            "scenarios": {section.name: section.raw for section in self.sections},
            "missing": self.missing,
        }
        return orjson.dumps(known, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    def markdown(self) -> str:
        """Tables, and what they were made with."""
        return "\n".join([*self._head(), *self._verdicts(), *self._bodies(), *self._foot()])

    def _head(self) -> Iterator[str]:
        machine = self.machine
        virtual = ", virtual" if machine["virtual"] else ""
        yield "# Benchmark\n"
        took = f"in {self.minutes:.0f} minutes" if self.minutes >= 2 else f"in {self.minutes * 60:.0f} seconds"
        yield f"`{self.command}` on {self.began:%d %B %Y}, {took}. [What is measured, and how](../METHOD.md)\n"
        yield (
            f"{machine['processor']} ({machine['cores']} cores{virtual}), {machine['memory_gib']} GiB, "
            f"{machine['system']}, Linux {machine['kernel']}, {machine['file_system']} with "
            f"{machine['fdatasync_us']} µs for an fdatasync; load of the machine before the run: "
            f"{machine['load_before']:.2f}. "
            f"{self.settings.rounds} rounds of {self.settings.seconds:g} s; {self.settings.pool:,} different signed "
            f"bodies of {self.median_body} bytes in the median.\n"
        )

    def _verdicts(self) -> Iterator[str]:
        if self.targets:
            yield "## Targets\n"
            rows = [(target.what, target.wanted, target.found, _MARKS[target.met]) for target in self.targets]
            yield from table(("", "wanted", "found", ""), rows)

    def _bodies(self) -> Iterator[str]:
        for section in self.sections:
            yield f"## {section.title}\n"
            yield f"{section.text}\n"
            for chart in section.charts:
                yield f"![{chart.title}]({chart.name}.svg)\n"
            yield from table(section.columns, section.rows)
            for further in section.more:
                yield f"{further.title}\n"
                yield from table(further.columns, further.rows)
            if section.notes:
                yield "\n".join([*(f"- {note}" for note in section.notes), ""])
        for name, why in self.missing.items():
            yield f"**{name}** was not measured: {why}\n"

    def _foot(self) -> Iterator[str]:
        known = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        yield f"## Versions\n\n{known}\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown; the first column holds words, the others figures."""
    yield f"| {' | '.join(columns)} |"
    yield f"|:---|{'---:|' * (len(columns) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
