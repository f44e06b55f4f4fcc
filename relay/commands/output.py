"""What all commands share: how they name the configuration, print, and end.

What a webhook brought may hold anything: it is printed with `plain`, and never as markup.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import chain, repeat
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import orjson
from rich.padding import Padding
from rich.text import Text

from relay.commands.completion import COMPLETERS
from relay.commands.consoles import err, out
from relay.config import Config, Glance, load, load_store
from relay.errors import ConfigError, RelayError
from relay.ports import Store
from relay.stores import open_store

T = TypeVar("T")

FAILED, WRONG_USE = 1, 2
"""Exit codes: what was asked for did not work; the command or the configuration is wrong."""

_NARROWEST = 6
"""Columns of a terminal that a cut cell keeps."""

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default="relay.yaml",
    show_default=True,
    help="The configuration file.",
)


def _unicode(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    """Bytes of an argument that are no UTF-8 as the replacement character, which nothing in a store matches."""
    return None if given is None else given.encode(errors="surrogateescape").decode(errors="replace")


def filter_option(*names: str, help: str, metavar: str | None = None) -> Callable[[Any], Any]:  # noqa: A002
    """An option that chooses rows by a text; its arguments are click's. What can be completed is, by its name."""
    complete = next((COMPLETERS[name] for name in names if name in COMPLETERS), None)
    return click.option(*names, callback=_unicode, help=help, metavar=metavar, shell_complete=complete)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; an error that we foresaw becomes a message and an exit code, not a traceback."""
    try:
        return asyncio.run(work)
    except RelayError as error:
        fail(error)


def fail(error: RelayError) -> NoReturn:
    """Print the error and end."""
    for line in str(error).splitlines():
        err.print(plain(line), style="red", markup=False)
    raise SystemExit(WRONG_USE if isinstance(error, ConfigError) else FAILED)


def short(event_id: str) -> str:
    """The start of an event id that no other event has, but for rare chance: its millisecond and 12 random bits."""
    return event_id[:18]


def no_event(asked: str) -> NoReturn:
    """End, because there is no such event."""
    err.print(f"no event {plain(asked)!r}, or more than one that starts so; see `relay events list`", markup=False)
    raise SystemExit(FAILED)


def load_config(path: Path) -> Config:
    """The configuration, or the end of the process with every problem printed."""
    try:
        return load(path, os.environ)
    except ConfigError as error:
        fail(error)


@asynccontextmanager
async def existing_store(config_path: Path) -> AsyncIterator[Store]:
    """The store that a configuration names, to look at; it is not created, and no secret of the sinks is needed."""
    store = await open_store(load_store(config_path, os.environ), create=False)
    try:
        yield store
    finally:
        await store.close()


def print_json_line(value: object) -> None:
    """One JSON document in one line, for a stream of them; raises BrokenPipeError where nobody reads it any more."""
    click.echo(_escaped(orjson.dumps(value, default=str).decode(), _json_escape, keep=""))


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json_text(value))


def json_text(value: object) -> str:
    """A JSON document of several lines; what a terminal might obey is escaped in it."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2).decode()
    return _escaped(text, _json_escape, keep="\n")


def fitted_json(value: object, *, width: int) -> str:
    """JSON for people: what fits into a line stands in one; what a terminal might obey is escaped in it."""
    return _escaped(_fitted_json(value, width, indent=0), _json_escape, keep="\n")


def _fitted_json(value: object, width: int, *, indent: int, before: int = 0) -> str:
    """`before`: the columns that its key takes, and the comma after it."""
    short = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or indent + before + len(short) <= width:
        return short
    inner = indent + 2
    if isinstance(value, dict):
        keys = [(json.dumps(key, ensure_ascii=False), each) for key, each in value.items()]
        parts = [f"{key}: {_fitted_json(each, width, indent=inner, before=len(key) + 3)}" for key, each in keys]
    else:
        parts = [_fitted_json(each, width, indent=inner, before=1) for each in value]
    first, last = "{}" if isinstance(value, dict) else "[]"
    joined = f",\n{' ' * inner}".join(parts)
    return f"{first}\n{' ' * inner}{joined}\n{' ' * indent}{last}"


def plain(text: str, *, keep: str = "") -> str:
    """The text with whatever is not seen written out: controls, escapes, bidirectional marks, half surrogates."""
    return _escaped(text, lambda character: ascii(character)[1:-1], keep=keep)


def print_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    *,
    whole: Collection[str] = (),
    right: Collection[str] = (),
    spare: Sequence[str] = (),
    notes: Sequence[str] = (),
) -> None:
    """Print one line for each row, cut to the terminal's width except for the `whole` columns.

    `right` columns hold numbers. In a terminal that is too narrow for all, `spare` columns are left out, the first one
    first, before anything is cut. A note stands below its row; where the output is no terminal, it stands behind, and
    nothing is cut or left out.
    """
    head = [Text(column, "bold") for column in columns]
    cells = [head, *([cell if isinstance(cell, Text) else Text(plain(cell)) for cell in row] for row in rows)]
    kept = _kept(columns, [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)], spare)
    columns = [columns[index] for index in kept]
    cells = [[row[index] for index in kept] for row in cells]
    widths = _fitted([max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)], columns, whole)
    for row, note in zip(cells, chain(("",), notes, repeat("")), strict=False):
        line = Text("  ").join(
            _aligned(cell, width, right=column in right)
            for cell, width, column in zip(row, widths, columns, strict=True)
        )
        if note and not out.is_terminal:
            line.append(f"  {plain(note)}")
        line.rstrip()
        out.print(line)
        if note and out.is_terminal:
            out.print(Padding(Text(plain(note), "dim"), (0, 0, 0, 4), expand=False), soft_wrap=False)


def _kept(columns: Sequence[str], widths: Sequence[int], spare: Sequence[str]) -> Sequence[int]:
    """The columns that are shown, by their places."""
    kept = list(range(len(columns)))
    for name in spare:
        if not out.is_terminal or sum(widths[index] for index in kept) + 2 * (len(kept) - 1) <= out.width:
            break
        kept.remove(columns.index(name))
    return kept


def _fitted(widths: list[int], columns: Sequence[str], whole: Collection[str]) -> list[int]:
    """Take from the widest until all fit; where even that is too much, the terminal has to wrap."""
    if not out.is_terminal:
        return widths
    room = max(0, out.width - 2 * (len(widths) - 1))
    longest = max(room, _NARROWEST)
    widths = [width if column in whole else min(width, longest) for width, column in zip(widths, columns, strict=True)]
    while sum(widths) > room:
        width, index = max((-1 if columns[index] in whole else width, index) for index, width in enumerate(widths))
        if width <= _NARROWEST:
            break
        widths[index] -= 1
    return widths


def _aligned(cell: Text, width: int, *, right: bool) -> Text:
    cell = cell.copy()
    cell.truncate(width, overflow="ellipsis")
    cell.align("right" if right else "left", width)
    return cell


def counted(number: int, one: str, many: str = "") -> str:
    """`1 error`, `2 errors`; `many` where an s is not enough."""
    return f"{number} {one}" if number == 1 else f"{number} {many or f'{one}s'}"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def age(duration: timedelta) -> str:
    """How long ago or from now, in its two largest units: `3 s`, `2 min`, `5 h 20 min`, `4 d 3 h`."""
    seconds = max(0, round(duration.total_seconds()))
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"


def print_problems(seen: Glance, unknown: str, needed: object) -> None:
    """Say that relay.yaml has mistakes, where what is needed of it is None, and so is unknown."""
    if needed is None:
        first = f"; the first: {seen.problems[0]}" if seen.problems else ""
        err.print(plain(f"relay.yaml has mistakes, so it is not known {unknown}{first}"), style="yellow", markup=False)


def when(moment: datetime | None) -> str:
    """A moment as people read it, in UTC."""
    return "–" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


def _json_escape(character: str) -> str:
    return json.dumps(character)[1:-1]


def _escaped(text: str, escape: Callable[[str], str], *, keep: str) -> str:
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else escape(each) for each in text)
