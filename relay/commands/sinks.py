"""`relay sinks`: how the lanes stand, and a hand to stop or start one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.text import Text

from relay.commands.completion import complete_sinks
from relay.commands.consoles import out
from relay.commands.output import (
    age,
    config_option,
    existing_store,
    json_option,
    listed,
    plain,
    print_json,
    print_problems,
    print_table,
)
from relay.commands.output import run as run_async
from relay.commands.standing import Standing, standings, suggestion
from relay.config import Glance, glance
from relay.model import Wish

_LONG = timedelta(minutes=1)
"""Waiting for so long while nothing goes out is worth a word."""
_STYLES = {"open": "green", "broken": "red", "paused": "yellow", "disabled": "dim", "removed": "dim"}


@click.group()
def sinks() -> None:
    """See how the sinks stand, pause them and let them go on.

    These commands write to the store, which a relay that runs looks at every second; without one, they hold for the
    next that starts.

    \b
    Examples:
      relay sinks list
      relay sinks pause crm && relay sinks list
      relay sinks resume crm
    """


@sinks.command("list")
@config_option
@json_option
def list_sinks(config_path: Path, as_json: bool) -> None:  # noqa: FBT001 - click calls it
    """List the sinks: state, backlog, pace, dead letters, and what to do for one in trouble.

    A state is `open`; `broken`: it fails, and is tried again soon; `paused`: by hand, or because nothing reaches it
    until somebody mends it; `disabled` in relay.yaml; `removed` from it, shown while something of the sink is left;
    or `unknown`, while no relay has run it. It is what the relay that ran last said of it, and for how long that has
    been so; of several nodes on one store, the worst that one of them says, and how many do. Oldest is the age of what
    has waited longest; a replay counts from its own time. Pace is how many deliveries were settled over the last
    minute, by a sample. At is the node that says so: of a sink with a `rate`, the only one that delivers to it.

    \b
    Examples:
      relay sinks list
      relay sinks list --json
    """
    seen = glance(config_path, os.environ)
    now = datetime.now(UTC)
    known, paces = run_async(_looked_at(config_path, seen, now))
    found = [each for each in known.values() if _is_worth_a_line(each)]
    advice = [_advice(each, paces.get(each.record.sink, 0.0), now) for each in found]
    if as_json:
        print_json([_json(each, paces, todo) for each, todo in zip(found, advice, strict=True)])
        return
    print_problems(seen, "which sinks are disabled or removed", seen.sinks)
    if found:
        _print(found, paces, advice, now)
    else:
        out.print("no sinks")


@sinks.command()
@config_option
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=complete_sinks)
@click.option("--all", "everything", is_flag=True, help="All sinks of relay.yaml.")
@json_option
def pause(config_path: Path, names: Sequence[str], everything: bool, as_json: bool) -> None:  # noqa: FBT001
    """Send nothing to these sinks until `relay sinks resume`.

    Webhooks are taken in and answered as before; what is routed to a paused sink waits in its backlog and is never
    given up. Attempts under way are finished. A pause outlives reloads and restarts.

    \b
    Examples:
      relay sinks pause crm oncall
      relay sinks pause --all
    """
    _ask(config_path, names, everything=everything, paused=True, as_json=as_json)


@sinks.command()
@config_option
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=complete_sinks)
@click.option("--all", "everything", is_flag=True, help="All sinks of relay.yaml, and all that are paused by hand.")
@json_option
def resume(config_path: Path, names: Sequence[str], everything: bool, as_json: bool) -> None:  # noqa: FBT001
    """Let these sinks go on, whoever or whatever stopped them.

    It ends a pause by hand, and also one that the relay made itself (a revoked token, a 410) or its breaker: say so
    when the other side is mended, instead of waiting for the next probe. If it is not, the sink closes again. What
    waits out a back-off of its own waits on; `relay replay --sink NAME --state pending` ends that.

    \b
    Examples:
      relay sinks resume crm
      relay sinks resume --all
    """
    _ask(config_path, names, everything=everything, paused=False, as_json=as_json)


def _ask(config_path: Path, names: Sequence[str], *, everything: bool, paused: bool, as_json: bool) -> None:
    if bool(names) == everything:
        raise click.UsageError("name the sinks, or say --all")
    chosen = run_async(_wish(config_path, list(dict.fromkeys(names)), paused=paused))
    if as_json:
        print_json({"sinks": chosen, "paused": paused})
        return
    if not chosen:
        out.print("no sinks")
        return
    what = "to be paused" if paused else "to go on"
    one = "is" if len(chosen) == 1 else "are"
    out.print(f"{plain(listed(chosen))} {one} {what}; a relay that runs does so within a second", markup=False)
    out.print("see it with `relay sinks list`", style="dim")


async def _wish(config_path: Path, names: Sequence[str], *, paused: bool) -> Sequence[str]:
    """Ask for it, of all sinks where none is named; those that it was asked for."""
    known = await _standings(config_path, glance(config_path, os.environ))
    for name in names:
        if name not in known:
            raise click.UsageError(plain(f"there is no sink {name!r}; {suggestion(name, list(known))}"))
    chosen = names or [name for name, each in known.items() if not each.removed or (each.by_hand and not paused)]
    async with existing_store(config_path) as store:
        now = datetime.now(UTC)
        for name in chosen:
            await store.wish(name, Wish(paused=paused, at=now))
    return chosen


async def _looked_at(
    config_path: Path, seen: Glance, now: datetime
) -> tuple[Mapping[str, Standing], Mapping[str, float]]:
    async with existing_store(config_path) as store:
        return standings(await store.sinks(), seen.sinks), await store.paces(now=now)


async def _standings(config_path: Path, seen: Glance) -> Mapping[str, Standing]:
    async with existing_store(config_path) as store:
        return standings(await store.sinks(), seen.sinks)


def _is_worth_a_line(each: Standing) -> bool:
    return not each.removed or bool(each.record.pending or each.record.dead or each.by_hand)


def _print(found: Sequence[Standing], paces: Mapping[str, float], advice: Sequence[str], now: datetime) -> None:
    replays = ["replays"] if any(each.record.replays for each in found) else []
    numbers = ("pending", *replays, "oldest", "pace", "dead")
    rows = [_row(each, paces, now) for each in found]
    several = len({node for each in found for node in each.record.nodes}) > 1
    columns = ("sink", "type", "state", "for", *numbers, *(["at"] if several else []))
    cells = [tuple(row[column] for column in columns) for row in rows]
    print_table(columns, cells, whole=("state", "for", *numbers), right=("for", *numbers), notes=advice)


def _row(each: Standing, paces: Mapping[str, float], now: datetime) -> Mapping[str, str | Text]:
    record = each.record
    state = f"{each.state} by hand" if each.by_hand and each.state == "paused" else each.state
    if record.others and not each.by_hand:  # nodes may differ: it may be the network of one
        state += f" on {len(record.nodes)} of {len(record.nodes) + record.others}"
    pace = paces.get(record.sink)
    return {
        "sink": record.sink,
        "type": "" if each.kind is None else each.kind.type,
        "state": Text(state, _STYLES.get(each.state, "")),
        "for": "" if each.since is None else age(now - each.since),
        "pending": str(record.pending),
        "replays": str(record.replays),
        "oldest": "" if record.oldest is None else age(now - record.oldest),
        "pace": "" if pace is None else _pace(pace),
        "dead": Text(str(record.dead), "red" if record.dead else ""),
        "at": record.nodes[0] if len(record.nodes) == 1 else f"{len(record.nodes)} nodes" if record.nodes else "",
    }


def _pace(per_second: float) -> str:
    """A rate as relay.yaml writes rates."""
    return f"{per_second:.0f}/s" if per_second >= 1 else f"{max(1.0, per_second * 60):.0f}/m"


def _advice(each: Standing, pace: float, now: datetime) -> str:
    """What the columns do not say, and what to do for a sink in trouble; empty where all is well."""
    record = each.record
    said = [each.note or _reminder(each, pace, now)]
    if record.dead:
        see = f"`relay deliveries list --sink {record.sink} --state dead` tells why"
        mended = "" if each.removed else f", `relay replay --sink {record.sink}` sends them again"
        said.append(f"dead letters: {see}{mended}")
    return "; ".join(filter(None, said))


def _reminder(each: Standing, pace: float, now: datetime) -> str:
    """Of a sink that nothing fails at: why nothing goes out all the same."""
    record = each.record
    if each.by_hand:
        return f"`relay sinks resume {record.sink}` lets it go on"
    if each.disabled:
        return "what waits goes out with `enabled: true`" if record.pending else ""
    if each.state == "unknown":
        return "no relay has run it yet; start one with `relay serve`"
    stuck = record.oldest is not None and now - record.oldest > _LONG and not pace
    return f"nothing went out for a minute; does `relay serve` run? {_see_pending(record.sink)}" if stuck else ""


def _see_pending(sink: str) -> str:
    return f"`relay deliveries list --sink {sink} --state pending` tells what waits"


def _json(each: Standing, paces: Mapping[str, float], advice: str) -> dict[str, object]:
    record = each.record
    return {
        "sink": record.sink,
        "type": None if each.kind is None else each.kind.type,
        "state": each.state,
        "by_hand": each.by_hand,
        "obeyed": each.obeyed,
        "since": each.since,
        "reason": record.reason,
        "detail": record.detail,
        "nodes": list(record.nodes),
        "other_nodes": record.others,
        "pending": record.pending,
        "replays": record.replays,
        "oldest": record.oldest,
        "per_second": round(paces.get(record.sink, 0.0), 3),
        "dead": record.dead,
        "advice": advice,
    }
