"""`relay replay`: send again what was given up, or what was sent, or where today's routes would send it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from relay.commands.choosing import (
    Asked,
    going,
    progress,
    read_moment,
    read_spacing,
    read_states,
    resolved,
    say_where_to_look,
    warn_of_what_waits,
)
from relay.commands.consoles import out
from relay.commands.output import (
    config_option,
    counted,
    existing_store,
    filter_option,
    json_option,
    load_config,
    plain,
    print_json,
    print_table,
    when,
)
from relay.commands.output import run as run_async
from relay.commands.reroute import reroute_events
from relay.commands.standing import suggestion
from relay.config import glance
from relay.model import DeliveryState, EventState, Selection, value
from relay.ports import Store
from relay.records import EventRecord, SinkRecord, Tally
from relay.replaying import Schedule
from relay.replaying import replay as replay_all

_EVERY_STATE = frozenset(DeliveryState)
_CHOOSE = "choose with --event, --meeting, --source, --type, --sink, --route, --since or --until; or say --all"


@value
class Found:
    """What there is to replay, and what came of it."""

    tallies: Sequence[Tally]
    others: Sequence[Tally] = ()
    """What would fit in other states, where nothing does."""
    event: EventRecord | None = None
    sinks: Sequence[SinkRecord] = ()
    replayed: int = 0
    last: datetime | None = None
    """When the last one goes out; None: nothing was changed."""

    @property
    def fit(self) -> int:
        """Deliveries that fit."""
        return sum(tally.count for tally in self.tallies)


@click.command()
@config_option
@filter_option("--event", "event_id", help="Of this event: its id, the start of it, or the sender's uuid.")
@filter_option("--meeting", help="Of this meeting.")
@filter_option("--source", help="Of this source.")
@filter_option("--type", "type_glob", metavar="GLOB", help="Of these types, for instance 'recording.*'.")
@filter_option("--sink", help="To this sink.")
@filter_option("--route", help="By this route.")
@click.option(
    "--since",
    metavar="TIME",
    callback=read_moment,
    help="Accepted then or later: 2026-11-23T10:00, or how long ago: 2h.",
)
@click.option("--until", metavar="TIME", callback=read_moment, help="Accepted before then.")
@click.option(
    "--state",
    "states",
    multiple=True,
    callback=read_states,
    type=click.Choice(["dead", "delivered", "pending", "any"]),
    help="What stands so: dead (the default), delivered, any (both), or pending: try now, do not wait out the "
    "back-off. May be given more than once.",
)
@click.option("--all", "everything", is_flag=True, help="All there are; needed where nothing else chooses.")
@click.option("--reroute", "anew", is_flag=True, help="Match the events with the routes of today; see above.")
@click.option(
    "--rate",
    "spacing",
    default="50/s",
    show_default=True,
    callback=read_spacing,
    help="How fast they go out, all together; none: as fast as the sinks take them.",
)
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def replay(
    config_path: Path,
    event_id: str | None,
    everything: bool,  # noqa: FBT001 - click calls it
    anew: bool,  # noqa: FBT001
    spacing: timedelta,
    dry_run: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
    **chosen: Any,
) -> None:
    """Send deliveries again: dead letters, unless --state says otherwise.

    Each gets a whole new budget of attempts, and carries a mark (relay-replay, relay_replay) beside the same event id.
    Replays go out at --rate, and only while nothing that came in waits for the same sink; replays of one meeting keep
    their order. What comes in after the start is not touched. A relay that runs sends them; without one they wait.

    With --reroute the events are matched anew with relay.yaml as it is now, as if they came in today, so that they
    reach every sink that its routes name: deliveries that an event lacks are added, and those that it has are replayed
    if they stand in --state (dead ones, unless told otherwise). Deliveries to sinks that no route names any more stay
    as they are. Events that the source's allow-lists refuse today get nothing; nor do quarantined ones whose source is
    gone. --sink and --route mean those that are chosen today.

    Exit code 0 also where nothing fits; 1 where no such event is there, or the store fails; 2 for wrong use.

    \b
    Examples:
      relay replay --sink crm --dry-run
      relay replay --sink crm --since 2h --rate 5/s
      relay replay --event 01990f3c-5a12-7abc --state any
      relay replay --type 'recording.*' --since 2026-11-23 --reroute --dry-run
    """
    if event_id is None and not everything and not any(value for name, value in chosen.items() if name != "states"):
        raise click.UsageError(_CHOOSE)
    selection = Selection(event_id=event_id, **chosen)
    if selection.since is not None and selection.until is not None and selection.since >= selection.until:
        raise click.UsageError("--since is not before --until")
    asked = Asked(config_path=config_path, selection=selection, spacing=spacing, dry_run=dry_run, as_json=as_json)
    if anew:
        reroute_events(asked, load_config(config_path))
    else:
        _replay(asked)


def _replay(asked: Asked) -> None:
    found = run_async(_replay_in_store(asked))
    if not found.tallies:
        _check_sink(asked, found)
    if asked.as_json:
        _print_json(asked, found)
    elif not found.tallies:
        out.print(plain(_nothing(asked, found)), markup=False)
    elif asked.dry_run:
        _print_tallies(found)
    else:
        _print_done(found)
    warn_of_what_waits(asked, {tally.sink for tally in found.tallies}, found.sinks)


async def _replay_in_store(asked: Asked) -> Found:
    async with existing_store(asked.config_path) as store:
        selection, event = await resolved(store, asked.selection)
        tallies = await store.tally(selection)
        if not tallies:
            others = await store.tally(replace(selection, states=_EVERY_STATE))
            return Found(tallies=(), others=others, event=event)
        found = Found(tallies=tallies, event=event, sinks=await store.sinks())
        return found if asked.dry_run else await _replay_found(store, selection, found, asked)


async def _replay_found(store: Store, selection: Selection, found: Found, asked: Asked) -> Found:
    schedule = Schedule(began=datetime.now(UTC), spacing=asked.spacing)
    with progress(asked, "replaying") as begin:
        done = await replay_all(store, selection, schedule, told=begin(found.fit))
    spaced = done if selection.states != frozenset({DeliveryState.PENDING}) else 0  # those come due at once
    return replace(found, replayed=done, last=schedule.at(max(0, spaced - 1)))


def _print_json(asked: Asked, found: Found) -> None:
    names = ("sink", "route", "state", "count", "oldest", "newest")
    print_json(
        {
            "dry_run": asked.dry_run,
            "fit": found.fit,
            "replayed": found.replayed,
            "last": found.last,
            "deliveries": [{name: getattr(tally, name) for name in names} for tally in found.tallies],
        }
    )


def _print_tallies(found: Found) -> None:
    columns = ("sink", "route", "state", "count", "oldest (UTC)", "newest (UTC)")
    rows = [
        (each.sink, each.route, each.state, str(each.count), when(each.oldest), when(each.newest))
        for each in found.tallies
    ]
    print_table(columns, rows, whole=columns[2:], right=("count",))
    out.print(f"{counted(found.fit, 'delivery', 'deliveries')} would go out again; nothing was changed")


def _print_done(found: Found) -> None:
    assert found.last is not None, "it is set wherever something is replayed"  # noqa: S101
    if found.replayed:
        go = "goes" if found.replayed == 1 else "go"
        out.print(f"{counted(found.replayed, 'delivery', 'deliveries')} {go} out{going(found.last)}")
    if (left := found.fit - found.replayed) > 0:  # what came since the count is among the replayed
        are = "it is" if left == 1 else "they are"
        more = "more fit" if found.replayed else "fit"
        text = f"{left} {more}, and were left: {are} due already, under way, or not the first of a meeting"
        out.print(f"{text}; `relay why` tells of each")
    say_where_to_look({tally.sink for tally in found.tallies})


def _check_sink(asked: Asked, found: Found) -> None:
    """A sink that nobody ever heard of is a slip of the pen."""
    name, known = asked.selection.sink, glance(asked.config_path, os.environ).sinks
    if name is not None and known is not None and name not in known and not found.others:
        raise click.UsageError(plain(f"there is no sink {name!r}; {suggestion(name, list(known))}"))


def _nothing(asked: Asked, found: Found) -> str:
    """That nothing fits, and what would."""
    if found.others:
        hints = [f"no {' or '.join(sorted(asked.selection.states))} deliveries fit"]
    else:
        hints = ["no deliveries fit, in whatever state; `relay events list` shows what came"]
    counts: Counter[DeliveryState] = Counter()
    for tally in found.others:
        counts[tally.state] += tally.count
    for state, count in sorted(counts.items()):
        hints.append(f"{counted(count, f'{state} one does', f'{state} ones do')}: add --state {state}")
    if found.event is not None and found.event.state is not EventState.ROUTED:
        hints.append(f"the event is {found.event.state}: add --reroute to match it with the routes of today")
    return "; ".join(hints)
