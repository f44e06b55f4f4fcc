"""`relay check` and `relay schema`."""

from __future__ import annotations

import os
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from relay.commands.output import WRONG_USE, config_option, counted, err, json_option, out, plain, print_json
from relay.config import Problem
from relay.config import check as check_file
from relay.config.schema import schema_text


@click.command()
@config_option
@json_option
def check(config_path: Path, as_json: bool) -> None:  # noqa: FBT001 - click calls it
    """Validate the configuration: every error with its line and what to do, and what can never match.

    Nothing is started and nothing is sent. Exit code 2 on any error.

    \b
    Examples:
      relay check
      relay check -c config/examples/kafka-everything.yaml
    """
    report = check_file(config_path, os.environ)
    if as_json:
        print_json(
            {
                "ok": not report.errors,
                "errors": [_plain(problem) for problem in report.errors],
                "warnings": [_plain(problem) for problem in report.warnings],
            }
        )
    else:
        for problem in report.errors:
            _print(err, "error", "red", str(problem))
        for problem in report.warnings:
            _print(err, "warning", "yellow", str(problem))
        if report.config is not None:
            config = report.config
            parts = (
                counted(len(part), noun)
                for part, noun in ((config.sources, "source"), (config.sinks, "sink"), (config.routes, "route"))
            )
            _print(out, "ok", "green", f"{config_path}: {', '.join(parts)}; hash {config.hash}")
        else:
            err.print(f"{counted(len(report.errors), 'error')}: the relay would not start", markup=False)
    if report.errors:
        raise SystemExit(WRONG_USE)


@click.command()
def schema() -> None:
    """Print the JSON Schema of relay.yaml, for editors and for other checkers.

    \b
    Examples:
      relay schema > relay.schema.json
    """
    click.echo(schema_text(), nl=False)


def _print(console: Console, word: str, style: str, text: str) -> None:
    console.print(Text.assemble((f"{word:9}", style), plain(text)))


def _plain(problem: Problem) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "column", "key", "message", "mend")}
