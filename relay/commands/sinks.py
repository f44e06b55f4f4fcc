"""`relay sinks`: how the lanes stand, and a hand to stop or start one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.text import Text

from relay.commands.output import (
    age,
    config_option,
    existing_store,
    json_option,
    listed,
    out,
    plain,
    print_json,
    print_problems,
    print_table,
    when,
)
from relay.commands.output import run as run_async
from relay.commands.standing import Standing, standings, suggestion
from relay.config import Glance, glance
from relay.model import Wish

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
    """List the sinks: state, backlog, dead letters.

    A state is `open`; `broken`: it fails, and is tried again soon; `paused`: by hand, or because nothing reaches it
    until somebody mends it; `disabled` in relay.yaml; `removed` from it, shown while something of the sink is left;
    or `unknown`, while no relay has run it. It is what the relay that ran last said of it. Oldest is the age of what
    has waited longest; a replay counts from its own time.

    \b
    Examples:
      relay sinks list
      relay sinks list --json
    """
    seen = glance(config_path, os.environ)
    found = [each for each in run_async(_standings(config_path, seen)).values() if _is_worth_a_line(each)]
    if as_json:
        print_json([_json(each) for each in found])
        return
    print_problems(seen, "which sinks are disabled or removed", seen.sinks)
    if not found:
        out.print("no sinks")
        return
    now = datetime.now(UTC)
    print_table(
        ("sink", "type", "state", "since (UTC)", "pending", "replays", "oldest", "dead"),
        [_row(each, now) for each in found],
        whole=("state", "pending", "replays", "oldest", "dead"),
        right=("pending", "replays", "oldest", "dead"),
        notes=[each.note for each in found],
    )


@sinks.command()
@config_option
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="All sinks of relay.yaml.")
def pause(config_path: Path, names: Sequence[str], everything: bool) -> None:  # noqa: FBT001
    """Send nothing to these sinks until `relay sinks resume`.

    Webhooks are taken in and answered as before; what is routed to a paused sink waits in its backlog and is never
    given up. Attempts under way are finished. A pause outlives reloads and restarts.

    \b
    Examples:
      relay sinks pause crm oncall
      relay sinks pause --all
    """
    _ask(config_path, names, everything=everything, paused=True)


@sinks.command()
@config_option
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("--all", "everything", is_flag=True, help="All sinks of relay.yaml, and all that are paused by hand.")
def resume(config_path: Path, names: Sequence[str], everything: bool) -> None:  # noqa: FBT001
    """Let these sinks go on, whoever or whatever stopped them.

    It ends a pause by hand, and also one that the relay made itself (a revoked token, a 410) or its breaker: say so
    when the other side is mended, instead of waiting for the next probe. If it is not, the sink closes again. What
    waits out a back-off of its own waits on; `relay replay --sink NAME --state pending` ends that.

    \b
    Examples:
      relay sinks resume crm
      relay sinks resume --all
    """
    _ask(config_path, names, everything=everything, paused=False)


def _ask(config_path: Path, names: Sequence[str], *, everything: bool, paused: bool) -> None:
    if bool(names) == everything:
        raise click.UsageError("name the sinks, or say --all")
    chosen = run_async(_wish(config_path, list(dict.fromkeys(names)), paused=paused))
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


async def _standings(config_path: Path, seen: Glance) -> Mapping[str, Standing]:
    async with existing_store(config_path) as store:
        return standings(await store.sinks(), seen.sinks)


def _is_worth_a_line(each: Standing) -> bool:
    return not each.removed or bool(each.record.pending or each.record.dead or each.by_hand)


def _row(each: Standing, now: datetime) -> Sequence[str | Text]:
    record = each.record
    state = f"{each.state} by hand" if each.by_hand and each.state == "paused" else each.state
    oldest = "" if record.oldest is None else age(now - record.oldest)
    return (
        record.sink,
        "" if each.kind is None else each.kind.type,
        Text(state, _STYLES.get(each.state, "")),
        "" if each.since is None else when(each.since),
        str(record.pending),
        str(record.replays),
        oldest,
        str(record.dead),
    )


def _json(each: Standing) -> dict[str, object]:
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
        "pending": record.pending,
        "replays": record.replays,
        "oldest": record.oldest,
        "dead": record.dead,
    }
