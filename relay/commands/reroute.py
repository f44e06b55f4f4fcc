"""`relay replay --reroute`: events matched anew with the routes of today."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from relay.commands.choosing import Asked, going, progress, resolved, say_where_to_look, warn_of_what_waits
from relay.commands.consoles import out
from relay.commands.output import counted, existing_store, print_json, print_table
from relay.commands.output import run as run_async
from relay.config import Config
from relay.ports import Store
from relay.records import Redelivered, SinkRecord
from relay.replaying import Match, Router, Schedule, matches, reroute


@dataclass
class Change:
    """What was found, and what came of it; filled as the steps go by."""

    events: int = 0
    refused: int = 0
    missing: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What a dry run would add, by sink and route."""
    again: Counter[tuple[str, str]] = field(default_factory=Counter)
    """What a dry run would replay."""
    made: Redelivered | None = None
    """What was done; None in a dry run."""
    last: datetime | None = None
    records: Sequence[SinkRecord] = ()

    @property
    def sinks(self) -> Collection[str]:
        """Those that get something."""
        return self.made.sinks if self.made is not None else {sink for sink, _ in [*self.missing, *self.again]}

    def note(self, matched: Sequence[Match]) -> None:
        """One more step was matched."""
        self.events += len(matched)
        self.refused += sum(match.refused for match in matched)


def reroute_events(asked: Asked, config: Config) -> None:
    """Do it, or count, and say what came of it."""
    change = run_async(_in_store(asked, config))
    if asked.as_json:
        _print_json(asked, change)
        return
    if change.made is None:
        _print_plan(change)
    else:
        _print_made(change, change.made)
    if change.refused:
        which, whose = ("event is", "it, or its") if change.refused == 1 else ("events are", "them, or their")
        out.print(f"{change.refused} {which} left alone: the allow-lists of today refuse {whose} source is gone")
    warn_of_what_waits(asked, change.sinks, change.records)


async def _in_store(asked: Asked, config: Config) -> Change:
    router = Router(config, sink=asked.selection.sink, route=asked.selection.route)
    change = Change()
    async with existing_store(asked.config_path) as store:
        selection, _ = await resolved(store, asked.selection)
        change.records = await store.sinks()
        with progress(asked, "matching events") as begin:
            told = begin(None)
            if asked.dry_run:
                async for matched in matches(store, selection, router):
                    change.note(matched)
                    await _plan(store, matched, asked, change)
                    told(len(matched))
                return change

            def note(matched: Sequence[Match]) -> None:
                change.note(matched)
                told(len(matched))

            schedule = Schedule(began=datetime.now(UTC), spacing=asked.spacing)
            change.made = await reroute(store, selection, schedule, router, config=config.hash, told=note)
        change.last = schedule.at(max(0, change.made.added + change.made.replayed - 1))
    return change


async def _plan(store: Store, matched: Sequence[Match], asked: Asked, change: Change) -> None:
    """Count what these events lack, and what of theirs would be replayed."""
    for match in matched:
        if not match.targets:
            continue
        records = await store.deliveries(event_id=match.record.event.id, limit=10_000)
        states = {record.sink: record.state for record in records}
        for target in match.targets:
            if target.sink not in states:
                change.missing[target.sink, target.route] += 1
            elif states[target.sink] in asked.selection.states:
                change.again[target.sink, target.route] += 1


def _print_json(asked: Asked, change: Change) -> None:
    made = change.made or Redelivered()
    print_json(
        {
            "dry_run": asked.dry_run,
            "events": change.events,
            "refused": change.refused,
            "added": made.added,
            "replayed": made.replayed,
            "last": change.last,
            "deliveries": [
                {
                    "sink": sink,
                    "route": route,
                    "missing": change.missing[sink, route],
                    "again": change.again[sink, route],
                }
                for sink, route in sorted({*change.missing, *change.again})
            ],
        }
    )


def _print_plan(change: Change) -> None:
    keys = sorted({*change.missing, *change.again})
    if not keys:
        _print_nothing(change)
        return
    rows = [(sink, route, str(change.missing[sink, route]), str(change.again[sink, route])) for sink, route in keys]
    numbers = ("would be added", "would go again")
    print_table(("sink", "route", *numbers), rows, whole=numbers, right=numbers)
    out.print(f"{counted(change.events, 'event')} looked at; nothing was changed")


def _print_made(change: Change, made: Redelivered) -> None:
    total = made.added + made.replayed
    if total == 0:
        _print_nothing(change)
        return
    assert change.last is not None, "something was made"  # noqa: S101
    parts = f"{made.added} added, {made.replayed} again"
    go = "goes" if total == 1 else "go"
    out.print(f"{counted(total, 'delivery', 'deliveries')} {go} out ({parts}){going(change.last)}")
    say_where_to_look(change.sinks)


def _print_nothing(change: Change) -> None:
    looked = counted(change.events, "event")
    out.print(f"nothing to do: {looked} looked at, and all that today's routes want of them is there")
