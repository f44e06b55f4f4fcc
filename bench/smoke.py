"""Whether a short run was one: everything started, took webhooks in, and found figures, however good they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from math import isfinite
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from bench.report import Report
from bench.results import Section

_NOT_HERE = ("workers",)
"""Scenarios that a version may lack the means for."""


def problems(report: Report, folder: Path) -> Sequence[str]:
    """What is wrong with a report that was written there; nothing, if all is well."""
    found = [f"{name} was not measured: {why}" for name, why in report.missing.items() if name not in _NOT_HERE]
    for section in report.sections:
        found += [f"{section.name}: {problem}" for problem in _of(section, folder)]
    return found


def _of(section: Section, folder: Path) -> Iterator[str]:
    for columns, rows in [(section.columns, section.rows), *((table.columns, table.rows) for table in section.more)]:
        for row in rows:
            if len(row) != len(columns) or not all(row):
                yield f"a row with other cells than its table: {row}"
    for path, figure in _figures(section.raw, ()):
        if not isfinite(figure):
            yield f"{'.'.join(path)} is {figure}"
        elif path[-1] in {"events", "answers", "waited"} and figure <= 0:
            yield f"{'.'.join(path)} is {figure:g}: nothing came"
        elif path[-1] in {"refused", "broken", "duplicates", "no_good"} and figure:
            yield f"{'.'.join(path)} is {figure:g}"
    for chart in section.charts:
        if not ET.parse(folder / f"{chart.name}.svg").getroot().tag.endswith("svg"):
            yield f"{chart.name}.svg is no picture"


def _figures(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Every number in it, and where it stands."""
    if is_dataclass(value):
        for field in fields(value):
            yield from _figures(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _figures(inner, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _figures(inner, (*path, str(number)))
    elif isinstance(value, int | float):
        yield path, float(value)
