"""How `relay --help` is laid out, and what all commands have: `--no-color`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from importlib import import_module
from typing import Any

import click

from relay.commands.output import err, out

_SECTIONS: Mapping[str, Sequence[str]] = {
    "Run": ("serve", "demo", "simulate", "migrate", "store"),
    "Configure": ("check", "explain", "test", "webhooks"),
    "See and mend": ("tail", "events", "deliveries", "why", "sinks", "replay"),
    "For your tools": ("schema", "catalog", "completion"),
}
_OTHERS = "More"
_ROOM = 62
"""Columns for what a command does, beside its name in a terminal of 80."""


class Sections(click.Group):
    """A group whose commands stand under headings. What is added to it, and what that holds, is told in whole
    sentences, and has `--no-color` where it can be called.

    A command is imported when it is asked for: all of them take longer than most of them run.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._places: dict[str, str] = {}
        self._loaded: MutableMapping[str, click.Command] = {}
        super().__init__(*args, **kwargs)
        self.params.append(_no_color())

    def place(self, module: str, *names: str) -> None:
        """Say where commands are, each under its own name."""
        self._places |= dict.fromkeys(names, module)

    @property
    def commands(self) -> MutableMapping[str, click.Command]:
        """All of them."""
        for name in [*self._places]:
            self._load(name)
        return self._loaded

    @commands.setter
    def commands(self, commands: MutableMapping[str, click.Command]) -> None:
        self._loaded = commands

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """As in click."""
        self._load(cmd_name)
        return self._loaded.get(cmd_name)

    def _load(self, name: str) -> None:
        if (module := self._places.pop(name, None)) is not None:
            self.add_command(getattr(import_module(module), name))

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """As in click."""
        self._loaded[name or str(cmd.name)] = cmd
        for command in _all(cmd):
            command.short_help = command.short_help or sentence(command.help or "")
            if not isinstance(command, click.Group):
                command.params.append(_no_color())

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As in click, by sections."""
        known = {name for names in _SECTIONS.values() for name in names}
        others = [name for name in self.list_commands(ctx) if name not in known]
        width = max(map(len, self.commands), default=0)
        for title, names in [*_SECTIONS.items(), (_OTHERS, others)]:
            rows = [
                (f"{name:{width}}", self.commands[name].short_help or "") for name in names if name in self.commands
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def sentence(text: str) -> str:
    """What a command does: its first sentence, or of a long one as much as stands well alone."""
    first = " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")
    for ends in (r"[:;] ", r", | (?:of|as|and|for|with) "):
        if len(first) <= _ROOM:
            break
        cuts = [match.start() for match in re.finditer(ends, first) if match.start() <= _ROOM]
        first = first[: cuts[-1]] if cuts else first
    return first


def _all(command: click.Command) -> Iterator[click.Command]:
    yield command
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            yield from _all(inner)


def _no_color() -> click.Option:
    def set_colours(context: click.Context, _parameter: click.Parameter, without: bool) -> None:  # noqa: FBT001
        for console in (out, err):
            before = bool(os.environ.get("NO_COLOR")) if context.parent is None else console.no_color
            console.no_color = without or before

    return click.Option(
        ["--no-color"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=set_colours,
        help="No colours, as with NO_COLOR; FORCE_COLOR is for pipes.",
    )
