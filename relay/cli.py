"""The `relay` command."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from relay import __version__
from relay.commands.helping import Sections


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


for module, names in {
    "catalog": ["catalog"],
    "check": ["check", "schema"],
    "completion": ["completion"],
    "demo": ["demo"],
    "explain": ["explain"],
    "ledger": ["deliveries", "events"],
    "migrate": ["migrate"],
    "replay": ["replay"],
    "serve": ["serve"],
    "simulate": ["simulate"],
    "sinks": ["sinks"],
    "store": ["store"],
    "tail": ["tail"],
    "test": ["test"],
    "webhooks": ["webhooks"],
    "why": ["why"],
}.items():
    main.place(f"relay.commands.{module}", *names)
