"""The `relay` command."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from relay import __version__
from relay.commands.catalog import catalog
from relay.commands.check import check, schema
from relay.commands.completion import completion
from relay.commands.demo import demo
from relay.commands.explain import explain
from relay.commands.helping import Sections
from relay.commands.ledger import deliveries, events
from relay.commands.replay import replay
from relay.commands.serve import serve
from relay.commands.simulate import simulate
from relay.commands.sinks import sinks
from relay.commands.tail import tail
from relay.commands.test import test
from relay.commands.webhooks import webhooks
from relay.commands.why import why


@click.group(cls=Sections, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="dyte-relay")
def main() -> None:
    """Relay Dyte and RealtimeKit webhooks, surely and once, to Kafka, HTTP services and Slack.

    Each command has examples in its own --help.

    \b
    Examples:
      relay demo
      relay check && relay serve
      relay tail --since 10m
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal or a file that cannot show a character gets its number
            stream.reconfigure(errors="backslashreplace")


for command in (
    serve,
    check,
    explain,
    test,
    simulate,
    demo,
    events,
    deliveries,
    why,
    replay,
    sinks,
    schema,
    tail,
    completion,
    webhooks,
    catalog,
):
    main.add_command(command)
