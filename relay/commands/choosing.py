"""What the two ways to send again share: how their options are read, and how they say what happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from relay.commands.consoles import err, out
from relay.commands.output import age, no_event, plain
from relay.commands.standing import standings
from relay.config import glance
from relay.model import DeliveryState, Selection, value
from relay.options import Rate, parse_duration
from relay.ports import Store
from relay.records import EventRecord, SinkRecord

Told: TypeAlias = Callable[[int], None]
"""Hears how many more are done."""

_ANY = frozenset({DeliveryState.DEAD, DeliveryState.DELIVERED})


@value
class Asked:
    """What one call asks for."""

    config_path: Path
    selection: Selection
    spacing: timedelta
    dry_run: bool
    as_json: bool


def read_moment(_context: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    """A time, or how long ago; in UTC where no zone is written."""
    if given is None:
        return None
    try:
        return datetime.now(UTC) - parse_duration(given)
    except ValueError:  # then it is a time
        pass
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        wanted = "write a time such as 2026-11-23T10:00 (UTC, unless it names a zone), or how long ago: 30m, 2h, 7d"
        raise click.BadParameter(wanted) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def read_spacing(_context: click.Context, _parameter: click.Parameter, given: str) -> timedelta:
    """A rate as the time between two."""
    if given == "none":
        return timedelta(0)
    try:
        return timedelta(seconds=1 / Rate.parse(given).per_second)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or none") from error


def read_states(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> frozenset[DeliveryState]:
    """Dead where nothing is given."""
    named = frozenset(DeliveryState(state) for state in given if state != "any")
    return (named | (_ANY if "any" in given else frozenset())) or frozenset({DeliveryState.DEAD})


async def resolved(store: Store, selection: Selection) -> tuple[Selection, EventRecord | None]:
    """With the whole id of the event that is meant, if one is; ends where it is not there."""
    if selection.event_id is None:
        return selection, None
    record = await store.event(selection.event_id)
    if record is None:
        no_event(selection.event_id)
    return replace(selection, event_id=record.event.id), record


@contextmanager
def progress(asked: Asked, what: str) -> Iterator[Callable[[int | None], Told]]:
    """A bar on a terminal. It begins with the total, where that is known."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=asked.as_json or not err.is_terminal) as bar:

        def begin(total: int | None) -> Told:
            task = bar.add_task(what, total=total)
            return lambda some: bar.advance(task, some)

        yield begin


def going(last: datetime) -> str:
    """When the last one goes out, where that is worth a word."""
    waits = last - datetime.now(UTC)
    return f", the last in {age(waits)} (--rate)" if waits > timedelta(seconds=1) else ""


def say_where_to_look(sinks: Collection[str]) -> None:
    """What to do next."""
    only = f" --sink {next(iter(sinks))}" if len(sinks) == 1 else ""
    text = f"see what became of them with `relay deliveries list{only}`, and what waits with `relay sinks list`"
    out.print(plain(text), style="dim", markup=False)


def warn_of_what_waits(asked: Asked, sinks: Collection[str], records: Sequence[SinkRecord]) -> None:
    """Say of which of these sinks nothing goes out, and why."""
    known = standings(records, glance(asked.config_path, os.environ).sinks, named=sinks)
    for name, each in known.items():
        if name in sinks and each.holds:
            err.print(plain(f"{name} only waits: {each.holds}"), style="yellow", markup=False)
