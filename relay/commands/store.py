"""`relay store`: what is done with a store as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from time import monotonic

import click

from relay.commands.consoles import err, out
from relay.commands.output import json_option, print_json
from relay.commands.output import run as run_async
from relay.stores import open_copy, open_origin, unfit
from relay.stores.copying import copy as copy_all

_EVERY = 2.0
"""Seconds between two lines of progress."""


@click.group()
def store() -> None:
    """Move a store.

    \b
    Examples:
      relay store copy sqlite:///data/relay.db postgresql://relay@db:5432/relay
    """


@store.command()
@click.argument("origin", metavar="FROM")
@click.argument("into", metavar="TO")
@json_option
def copy(origin: str, into: str, as_json: bool) -> None:  # noqa: FBT001 - click calls it
    """Copy a whole store into an empty one, of the same kind or another.

    FROM and TO are URLs, as in `store` of relay.yaml. Everything is copied: events, the marks against duplicates,
    deliveries with their due times, attempts and replays, dead letters, and the wishes for sinks. What is pending
    stays pending, in its order. Passwords are better kept in PGPASSWORD or ~/.pgpass than on the command line.

    Stop every relay on both stores first; it is refused while one is at work. Senders try again meanwhile. Killed in
    the middle it leaves a store that no relay opens; run it again, and it begins anew. At the end both are counted and
    compared. FROM stays as it is: never start a relay on it again, or what is pending is delivered twice.

    \b
    Examples:
      relay store copy sqlite:///data/relay.db postgresql://relay@db:5432/relay
      relay store copy postgresql://relay@db:5432/relay sqlite:////tmp/copy.db
    """
    for name, url in (("FROM", origin), ("TO", into)):
        if problem := unfit(url):
            raise click.UsageError(f"{name} {problem}")
    if origin == into:
        raise click.UsageError("FROM and TO are the same store")
    counts = run_async(_copy(origin, into, _Progress(silent=as_json)))
    if as_json:
        print_json({"copied": counts})
        return
    width = max(map(len, counts), default=0)
    for name, number in counts.items():
        out.print(f"{name:{width}}  {number:12,}  in both", markup=False, highlight=False)
    out.print("copied; now write TO as `store` in relay.yaml, and start no relay on FROM again", markup=False)


async def _copy(origin: str, into: str, progress: _Progress) -> Mapping[str, int]:
    async with AsyncExitStack() as stack:
        source = await open_origin(origin)
        stack.push_async_callback(source.close)
        target = await open_copy(into)
        stack.push_async_callback(target.close)
        return await copy_all(source, target, told=progress)


class _Progress:
    """A line now and then, and one for the end of each table."""

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._last = monotonic()

    def __call__(self, table: str, done: int, total: int) -> None:
        if self._silent or not total or (done < total and monotonic() < self._last + _EVERY):
            return
        self._last = monotonic()
        err.print(f"{table}: {done:,} of {total:,} rows", style="dim", markup=False, highlight=False)
