"""`relay completion`, and what shells are told while a command is typed: names from relay.yaml, without its secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem, get_completion_class

from relay.config import Names, names
from relay.vocabulary import KNOWN_TYPES

Complete: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
"""What fits behind what is typed so far, as click asks for it."""

_TYPE_GLOBS = sorted({*KNOWN_TYPES, *(f"{known.partition('.')[0]}.*" for known in KNOWN_TYPES)})


def named(choose: Callable[[Names], Iterable[str]]) -> Complete:
    """Completes from the names in the relay.yaml that the command line means."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = choose(names(context.params.get("config_path") or Path("relay.yaml")))
        given = context.params.get("names") or ()  # an argument that takes several takes each once
        return _fitting((name for name in found if name not in given), incomplete)

    return complete


def _types(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _fitting(_TYPE_GLOBS, incomplete)


complete_sinks = named(lambda found: found.sinks)
COMPLETERS: Mapping[str, Complete] = {
    "--type": _types,
    "--sink": complete_sinks,
    "--source": named(lambda found: found.sources),
    "--route": named(lambda found: found.routes),
}
"""For options that are called so, whichever command has them."""


def _fitting(found: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Those that begin so. What a shell could take for anything else than a name is left out."""
    return [CompletionItem(name) for name in found if name.startswith(incomplete) and name.isprintable()]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete what you type.

    It completes commands, options, and the names of sinks, sources and routes in relay.yaml. Each shell has a folder in
    which it looks for such scripts; the next one that you start knows it.

    \b
    Examples:
      relay completion bash > ~/.local/share/bash-completion/completions/relay
      relay completion zsh > "${fpath[1]}/_relay"
      relay completion fish > ~/.config/fish/completions/relay.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None, "click has all three"  # noqa: S101
    click.echo(kind(context.find_root().command, {}, "relay", "_RELAY_COMPLETE").source())
