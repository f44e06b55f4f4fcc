"""Every command with the help that it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from docs.generate.words import block
from relay.cli import main

_WIDTH = 100


def every() -> str:
    """All commands, in the order of the help."""
    return "\n".join(f"## {name}\n\n{block(_help(name, command))}" for name, command in _commands("relay", main))


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """Those that do something, with their whole names."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for each in command.list_commands(context):
        inner = command.get_command(context, each)
        if inner is not None and not inner.hidden:
            yield from _commands(f"{name} {each}", inner)


def _help(name: str, command: click.Command) -> str:
    settings = {**main.context_settings, **command.context_settings}
    context = click.Context(command, info_name=name, terminal_width=_WIDTH, max_content_width=_WIDTH, **settings)
    return re.sub(r"\n{3,}", "\n\n", command.get_help(context))
