"""`relay migrate`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from relay.commands.output import FAILED, config_option, counted, json_option, out, print_json
from relay.commands.output import run as run_async
from relay.config import load_store
from relay.records import Schema
from relay.stores import open_store, schema_of


@click.command()
@config_option
@click.option("--check", "only_look", is_flag=True, help="Change nothing; exit code 1 where there is something to do.")
@json_option
def migrate(config_path: Path, only_look: bool, as_json: bool) -> None:  # noqa: FBT001 - click calls it
    """Bring the store's schema up to date, or create it.

    `relay serve` does the same when it starts, so a single relay never needs this. It is for a deployment in which
    relays may not create tables, and for those who want to see beforehand what an upgrade does: with --check. Each
    migration is one transaction; killed in the middle it goes on from there the next time.

    Several relays on one PostgreSQL may be upgraded one after the other while the others work on: where a migration
    would stop older ones, that is said.

    \b
    Examples:
      relay migrate --check
      relay migrate -c /etc/relay/relay.yaml
    """
    before = run_async(_migrate(load_store(config_path, os.environ), only_look=only_look))
    if as_json:
        print_json({"found": before.found, "known": before.known, "due": before.due, "done": not only_look})
    else:
        _tell(before, only_look=only_look)
    if only_look and before.due:
        raise SystemExit(FAILED)


async def _migrate(url: str, *, only_look: bool) -> Schema:
    """The schema as it was before."""
    before = await schema_of(url)
    if before.due and not only_look:
        store = await open_store(url)
        await store.close()
    return before


def _tell(before: Schema, *, only_look: bool) -> None:
    if not before.due:
        newer = "" if before.found <= before.known else f", made by a newer relay; this one knows {before.known}"
        out.print(f"up to date: schema {before.found}{newer}", markup=False)
        return
    for number, name in enumerate(before.due, before.found + 1):
        out.print(f"{'due ' if only_look else 'done'}  {number:04}  {name}", markup=False)
    if before.found and before.oldest > before.found:
        out.print(
            f"relays that know less than schema {before.oldest} cannot work with it: end them first", style="yellow"
        )
    was = f"schema {before.found}" if before.found else "no store"
    steps = counted(len(before.due), "migration")
    out.print(f"{steps} {'to be applied' if only_look else 'applied'}: {was} -> schema {before.known}", markup=False)
