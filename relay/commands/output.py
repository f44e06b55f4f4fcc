"""What all commands share: how they name the configuration, print, and end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
import orjson
from rich.console import Console
from rich.table import Table

from relay.config import Config, load
from relay.errors import ConfigError, RelayError
from relay.ports import Store
from relay.stores import open_store

T = TypeVar("T")

FAILED, WRONG_USE = 1, 2
"""Exit codes: what was asked for did not work; the command or the configuration is wrong."""

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)

config_option = click.option(
    "-c",
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    default="relay.yaml",
    show_default=True,
    help="The configuration file.",
)
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
        err.print(line, style="red", markup=False)
    raise SystemExit(WRONG_USE if isinstance(error, ConfigError) else FAILED)


def load_config(path: Path) -> Config:
    """The configuration, or the end of the process with every problem printed."""
    try:
        return load(path, os.environ)
    except ConfigError as error:
        fail(error)


@asynccontextmanager
async def existing_store(config: Config) -> AsyncIterator[Store]:
    """The store of a configuration, to look at; it is not created."""
    store = await open_store(config.store.get_secret_value(), create=False)
    try:
        yield store
    finally:
        await store.close()


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2))


def table(*columns: str) -> Table:
    """A plain table."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def when(moment: datetime | None) -> str:
    """A moment as people read it, in UTC."""
    return "–" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")
