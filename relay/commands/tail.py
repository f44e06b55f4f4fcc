"""`relay tail`: what arrives and where it goes, line by line, as it happens."""

from __future__ import annotations

import asyncio
import os
import select
import sys
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
from rich.padding import Padding
from rich.text import Text

from relay.commands.choosing import read_moment
from relay.commands.consoles import err, out
from relay.commands.output import (
    config_option,
    counted,
    filter_option,
    json_option,
    listed,
    plain,
    print_json_line,
    short,
    when,
)
from relay.commands.output import run as run_async
from relay.commands.standing import suggestion
from relay.config import glance, load_store
from relay.errors import StoreUnavailable
from relay.model import EventState, Selection, value
from relay.options import parse_duration
from relay.records import Arrival, AttemptRecord, DeliveryRecord
from relay.stores import open_live
from relay.tailing import Moment, Tail, What
from relay.views import delivery_view, event_view

_EVERY = 0.25
"""Seconds between two looks."""
_STYLES = {What.ARRIVED: "cyan", What.DELIVERED: "green", What.FAILED: "yellow", What.DEAD: "red"}


@value
class Asked:
    """What one call asks for."""

    selection: Selection
    failures: bool
    limit: int | None
    seconds: float | None
    as_json: bool


def _read_duration(_context: click.Context, _parameter: click.Parameter, given: str | None) -> timedelta | None:
    try:
        return None if given is None else parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@config_option
@filter_option("--type", "type_glob", metavar="GLOB", help="Only these types, for instance 'recording.*'.")
@filter_option("--meeting", help="Only of this meeting.")
@filter_option("--source", help="Only of this source.")
@filter_option("--sink", help="Only what goes to this sink.")
@click.option("--failures", is_flag=True, help="Only failed attempts and dead letters.")
@click.option(
    "--since", metavar="TIME", callback=read_moment, help="Begin with what was accepted then: 10m, or 2026-11-23T10:00."
)
@click.option("--limit", type=click.IntRange(1), help="End after so many lines.")
@click.option(
    "--for",
    "how_long",
    metavar="DURATION",
    callback=_read_duration,
    help="End after so long, and not before the history is told: 0, 10s, 5m.",
)
@json_option
def tail(
    config_path: Path,
    failures: bool,  # noqa: FBT001 - click calls it
    since: datetime | None,
    limit: int | None,
    how_long: timedelta | None,
    as_json: bool,  # noqa: FBT001
    **chosen: Any,
) -> None:
    """Show what arrives and where it goes, as it happens, until Ctrl-C.

    A line for each event that comes in and the sinks it goes to, for each attempt that fails, and for each delivery
    that settles. It looks into the store on this machine, reads only, and does not disturb the relay. Of a backlog
    from before the start the next 1,000 deliveries of each sink are followed at a time. Times are UTC.

    With --json each line is one document with `what` (arrived, delivered, failed, dead) and `at`.

    \b
    Examples:
      relay tail
      relay tail --sink crm --failures
      relay tail --since 10m --type 'recording.*'
      relay tail --json --for 30s > half-a-minute.jsonl
    """
    asked = Asked(
        selection=Selection(**chosen),
        failures=failures,
        limit=limit,
        seconds=None if how_long is None else how_long.total_seconds(),
        as_json=as_json,
    )
    _warn_of_a_slip(config_path, asked)
    try:
        run_async(_follow(config_path, since, asked))
    except KeyboardInterrupt:  # the usual end
        if err.is_terminal:
            err.print()
    except BrokenPipeError:  # so is a reader that has seen enough; Python would complain of the flush at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _follow(config_path: Path, since: datetime | None, asked: Asked) -> None:
    loop = asyncio.get_running_loop()
    end = None if asked.seconds is None else loop.time() + asked.seconds
    live = await open_live(load_store(config_path, os.environ))
    try:
        looking = Tail(live, asked.selection, after=await live.place(since), failures=asked.failures)
        if err.is_terminal and not asked.as_json:
            begin = "from now on" if since is None else f"since {when(since)}"
            err.print(f"what happens {begin}, in UTC; Ctrl-C ends it", style="dim")
        left = asked.limit
        while True:
            moments = (await _seen(looking, until=end))[:left]
            for moment in moments:
                _print(moment, as_json=asked.as_json)
            left = None if left is None else left - len(moments)
            if left == 0 or nobody_reads():
                return
            if not looking.behind:  # else there is more history to tell
                if end is not None and loop.time() >= end:
                    return
                await asyncio.sleep(_EVERY if end is None else max(0.0, min(_EVERY, end - loop.time())))
    finally:
        await live.close()


async def _seen(looking: Tail, *, until: float | None) -> Sequence[Moment]:
    """The next look. A server that is away comes back; that is said once."""
    said, loop = False, asyncio.get_running_loop()
    while True:
        try:
            return await looking.look()
        except StoreUnavailable as error:
            if error.kind not in ("conn", "busy") or nobody_reads() or (until is not None and loop.time() >= until):
                raise
            if not said:
                err.print(f"{plain(str(error))}; trying again", style="yellow", markup=False)
                said = True
            await asyncio.sleep(_EVERY)


def nobody_reads() -> bool:
    """Whether the pipe or terminal that we write to is gone, though there is nothing to write."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # no file at all
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _warn_of_a_slip(config_path: Path, asked: Asked) -> None:
    """A sink that is not there would be waited for in vain."""
    name, known = asked.selection.sink, glance(config_path, os.environ).sinks
    if name is not None and known is not None and name not in known:
        text = f"relay.yaml has no sink {name!r}; {suggestion(name, list(known))}"
        err.print(plain(text), style="yellow", markup=False)


def _print(moment: Moment, *, as_json: bool) -> None:
    if as_json:
        print_json_line(_json(moment))
        return
    line, note = Text(), ""
    if moment.arrival is not None:
        line = _arrived(moment, moment.arrival)
    elif moment.delivery is not None:
        line = _of_delivery(moment, moment.delivery)
        note = _note(moment.delivery, moment.attempt)
    if not out.is_terminal:
        click.echo(line.plain + (f"  {plain(note)}" if note else ""))
        return
    with out.capture() as written:  # rich itself would end the process with 1 where nobody reads
        line.truncate(out.width, overflow="ellipsis")
        out.print(line)
        if note:
            out.print(Padding(Text(plain(note), "dim"), (0, 0, 0, 4), expand=False), soft_wrap=False)
    click.echo(written.get(), nl=False)


def _line(moment: Moment, event_id: str, rest: Sequence[str | tuple[str, str]]) -> Text:
    return Text.assemble(
        f"{_clock(moment.at)}  ", (f"{moment.what:9}", _STYLES[moment.what]), f"  {short(event_id)}  ", *rest
    )


def _clock(moment: datetime) -> str:
    """In a terminal people know the day."""
    return f"{moment:%H:%M:%S}" if out.is_terminal else when(moment)


def _arrived(moment: Moment, arrival: Arrival) -> Text:
    event, record = arrival.event.event, arrival.event
    where: str | tuple[str, str] = (f"{record.state}{f': {record.detail}' if record.detail else ''}", "yellow")
    if record.state is EventState.ROUTED:
        where = f"to {plain(listed([each.sink for each in arrival.deliveries]))}"
    thread = event.meeting or event.stream
    return _line(moment, event.id, [plain(event.type), "  ", where, f"  {plain(thread)}" if thread else ""])


def _of_delivery(moment: Moment, delivery: DeliveryRecord) -> Text:
    again = f", replayed {counted(delivery.replay, 'time')}" if delivery.replay else ""
    attempts = f" at attempt {delivery.attempt}" if delivery.attempt > 1 and moment.attempt is None else ""
    receipt = f"  {plain(delivery.receipt)}" if moment.what is What.DELIVERED and delivery.receipt else ""
    return _line(
        moment, delivery.event_id, [f"{plain(delivery.type)}  to {plain(delivery.sink)}{attempts}{again}{receipt}"]
    )


def _note(delivery: DeliveryRecord, attempt: AttemptRecord | None) -> str:
    """What went wrong, and what comes next."""
    if attempt is not None:
        waits = not delivery.leased and attempt.attempt == delivery.attempt
        then = f"; the next at {_clock(delivery.due_at)}" if waits and delivery.due_at is not None else ""
        return f"attempt {attempt.attempt}: {attempt.reason}: {attempt.detail}{then}"
    if not delivery.reason:
        return ""
    return f"{delivery.reason}: {delivery.detail}; `relay why {short(delivery.event_id)}` tells more"


def _json(moment: Moment) -> dict[str, object]:
    found: dict[str, object] = {"what": moment.what, "at": moment.at}
    if moment.arrival is not None:
        targets = [{"sink": each.sink, "route": each.route} for each in moment.arrival.deliveries]
        return found | {"event": event_view(moment.arrival.event), "deliveries": targets}
    if moment.delivery is not None:
        found |= {"delivery": delivery_view(moment.delivery)}
    if moment.attempt is not None:
        found |= {"attempt": moment.attempt}
    return found
