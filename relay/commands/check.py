"""`relay check` and `relay schema`."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.core import ParameterSource
from rich.console import Console
from rich.text import Text

from relay.commands.consoles import err, out
from relay.commands.output import WRONG_USE, config_option, counted, fail, json_option, plain, print_json
from relay.config import Problem, Report
from relay.config import check as check_file
from relay.config.proof import prove
from relay.config.schema import schema_text
from relay.errors import RelayError


@click.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
@config_option
@click.option(
    "--schema",
    "by_schema",
    is_flag=True,
    help="Prove the file against its JSON Schema instead: how it is written, without any variable or secret.",
)
@json_option
@click.pass_context
def check(
    context: click.Context,
    file: Path | None,
    config_path: Path,
    by_schema: bool,  # noqa: FBT001 - click calls it
    as_json: bool,  # noqa: FBT001
) -> None:
    """Validate the configuration: every error with its line and what to do, and what can never match.

    Nothing is started and nothing is sent. Exit code 2 on any error.

    With --schema it is what editors underline: it needs no environment variable to be set, so it fits a repository's
    own checks, and it needs the extra `dyte-relay[schema]`. Only the whole check knows what the values mean.

    \b
    Examples:
      relay check
      relay check config/examples/kafka-everything.yaml
      relay check --schema --json
    """
    if file is not None:
        if context.get_parameter_source("config_path") is not ParameterSource.DEFAULT:
            raise click.UsageError("name the file once: as an argument, or with -c")
        config_path = file
    report = _proven(config_path) if by_schema else check_file(config_path, os.environ)
    if as_json:
        print_json(
            {
                "ok": not report.errors,
                "errors": [_plain(problem) for problem in report.errors],
                "warnings": [_plain(problem) for problem in report.warnings],
            }
        )
    else:
        _print_report(report, config_path, by_schema=by_schema)
    if report.errors:
        raise SystemExit(WRONG_USE)


def _proven(config_path: Path) -> Report:
    try:
        return Report(config=None, errors=prove(config_path), warnings=())
    except RelayError as error:
        fail(error)


def _print_report(report: Report, config_path: Path, *, by_schema: bool) -> None:
    for problem in report.errors:
        _print(err, "error", "red", str(problem))
    for problem in report.warnings:
        _print(err, "warning", "yellow", str(problem))
    if report.errors:
        found = counted(len(report.errors), "error")
        consequence = "the schema refuses the file" if by_schema else "the relay would not start"
        err.print(f"{found}: {consequence}", markup=False)
    elif report.config is None:
        _print(out, "ok", "green", f"{config_path} is as its schema wants it; `relay check` looks at what it means")
    else:
        config = report.config
        parts = (
            counted(len(part), noun)
            for part, noun in ((config.sources, "source"), (config.sinks, "sink"), (config.routes, "route"))
        )
        _print(out, "ok", "green", f"{config_path}: {', '.join(parts)}; hash {config.hash}")


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
