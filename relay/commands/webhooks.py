"""`relay webhooks`: our addresses registered at the provider, with the events that the routes need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from relay.commands.consoles import err, out
from relay.commands.output import FAILED, config_option, counted, json_option, plain, print_json
from relay.commands.output import run as run_async
from relay.commands.registering import Asked, Chosen, ask, choose, look, look_and_plan, told
from relay.commands.registrations import (
    Failed,
    Removal,
    print_accounts,
    print_plan,
    print_removals,
    print_result,
    registration_json,
    removal_json,
    result_json,
    rows_json,
    step_json,
)
from relay.errors import ProviderError
from relay.registration import Done, Provider, Registration, Step, carry_out, registered_name, same_address

_sources = click.argument("names", nargs=-1, metavar="[SOURCE]...")
_reveal = click.option("--reveal", is_flag=True, help="Show addresses whole, with what nobody should guess in them.")
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.group()
def webhooks() -> None:
    """Register this relay at Dyte or RealtimeKit, with exactly the events that the routes need.

    A source needs to say where the sender reaches it (`public_url`) and who may register it (`api`); the secrets of
    sinks, and the store, are not needed. Other webhooks of the account are never touched.

    \b
    Examples:
      relay webhooks plan
      relay webhooks apply
      relay webhooks list
    """


@webhooks.command("plan")
@_sources
@config_option
@click.option("--check", is_flag=True, help="Exit code 1 unless all is as it should be: for CI.")
@_reveal
@json_option
def show_plan(
    names: Sequence[str],
    config_path: Path,
    check: bool,  # noqa: FBT001 - click calls it
    reveal: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Show what `apply` would change; changes nothing.

    `+` is an event that a route takes and nobody subscribed to, `-` one that is subscribed to and goes nowhere. All
    sources that can be registered, or those that are named.

    \b
    Examples:
      relay webhooks plan
      relay webhooks plan dyte --check
      relay webhooks plan --json
    """
    asked = choose(config_path, names, reveal=reveal, as_json=as_json)
    plan = run_async(look_and_plan(asked))
    settled = all(step.settled for step in plan.steps)
    if as_json:
        print_json(
            {
                "settled": settled,
                "sources": [step_json(asked, *each) for each in zip(asked.chosen, plan.steps, strict=True)],
                "strays": [registration_json(asked, each.registration) for each in plan.strays],
                "warnings": [str(problem) for problem in asked.found.warnings],
            }
        )
    else:
        print_plan(asked, plan)
        if any(step.changes for step in plan.steps):
            out.print("nothing was changed; do it with `relay webhooks apply`", style="dim")
    if check and not settled:
        raise SystemExit(FAILED)


@webhooks.command()
@_sources
@config_option
@_yes
@_reveal
@json_option
def apply(
    names: Sequence[str],
    config_path: Path,
    yes: bool,  # noqa: FBT001 - click calls it
    reveal: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Register what is missing, and correct the events of the rest.

    Shows the plan and asks first. Safe to repeat: an address that is registered is never registered again, not even
    where an answer was lost. What is disabled stays disabled, names stay, and nothing is deleted. Exit code 1 where
    something could not be done, or an address is registered more than once.

    \b
    Examples:
      relay webhooks apply
      relay webhooks apply dyte --yes
    """
    asked = choose(config_path, names, reveal=reveal, as_json=as_json)
    plan = run_async(look_and_plan(asked))
    if not as_json:
        print_plan(asked, plan)
    if changes := sum(step.changes for step in plan.steps):
        ask(f"Change {counted(changes, 'registration')}?", yes=yes, as_json=as_json)
        if not yes and run_async(look_and_plan(asked)).steps != plan.steps:
            err.print("something was registered meanwhile, so nothing was changed; look again", style="red")
            raise SystemExit(FAILED)
    elif not as_json and all(step.settled for step in plan.steps):
        out.print("nothing to do", style="dim")
    results = run_async(_carry_out(asked.chosen, plan.steps))
    if as_json:
        print_json([result_json(asked, result) for result in results])
    else:
        for each, result in zip(asked.chosen, results, strict=True):
            print_result(each, result)
    if not all(isinstance(result, Done) and result.whole for result in results):
        raise SystemExit(FAILED)


@webhooks.command("list")
@_sources
@config_option
@_reveal
@json_option
def list_webhooks(
    names: Sequence[str],
    config_path: Path,
    reveal: bool,  # noqa: FBT001 - click calls it
    as_json: bool,  # noqa: FBT001
) -> None:
    """List all webhooks of the accounts, ours and others.

    Each of ours is marked with its source. Parts of an address that nobody should guess, and queries, are hidden.

    \b
    Examples:
      relay webhooks list
      relay webhooks list --json
    """
    asked = choose(config_path, names, reveal=reveal, as_json=as_json, with_url=False)
    accounts = run_async(look(asked))
    if as_json:
        print_json(rows_json(asked, accounts))
    else:
        print_accounts(asked, accounts)


@webhooks.command()
@_sources
@config_option
@click.option("--id", "ids", multiple=True, metavar="ID", help="Only this one of ours. May be given more than once.")
@click.option("--all", "everything", is_flag=True, help="Those of all sources.")
@_yes
@_reveal
@json_option
def delete(
    names: Sequence[str],
    config_path: Path,
    ids: Sequence[str],
    everything: bool,  # noqa: FBT001 - click calls it
    yes: bool,  # noqa: FBT001
    reveal: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """Take our registrations away.

    Nothing is sent to these sources any more then. Ours is what is registered at the address of a source; with --id
    also what bears our name at an address that was ours before. Others are never deleted.

    \b
    Examples:
      relay webhooks delete dyte
      relay webhooks delete --id 0c2f6c1e-8f4c-4a7e-9d3b-2f1f8a1c6a55
      relay webhooks delete --all --yes
    """
    if everything and (names or ids):
        raise click.UsageError("--all excludes names and --id")
    if not (names or ids or everything):
        raise click.UsageError("name the sources, or say --id or --all")
    asked = choose(config_path, names, reveal=reveal, as_json=as_json)
    existing = run_async(look(asked))
    doomed = [(each, one) for each in asked.chosen for one in _doomed(each, existing[each.account], ids)]
    if unknown := set(ids) - {one.id for _, one in doomed}:
        err.print(plain(f"{min(unknown)} is none of ours; see `relay webhooks list`"), style="red", markup=False)
        raise SystemExit(FAILED)
    if doomed:
        _say_what_goes(asked, doomed)
        ask(f"Delete {counted(len(doomed), 'registration')}?", yes=yes, as_json=as_json)
    ended = run_async(_delete(doomed))
    if as_json:
        print_json([removal_json(asked, each) for each in ended])
    else:
        print_removals(ended)
    if any(each.error for each in ended):
        raise SystemExit(FAILED)


async def _carry_out(chosen: Sequence[Chosen], steps: Sequence[Step]) -> list[Done | Failed]:
    """All steps, one after the other; what fails for one source does not keep the next from its turn."""
    results: list[Done | Failed] = []
    for each, step in zip(chosen, steps, strict=True):
        async with Provider.opened(each.account, told=told) as provider:
            try:
                results.append(await carry_out(provider, step))
            except ProviderError as error:
                results.append(Failed(step=step, error=error))
    return results


async def _delete(doomed: Sequence[tuple[Chosen, Registration]]) -> list[Removal]:
    """All of them; what fails for one does not keep the next from its turn."""
    ended = []
    for each, registration in doomed:
        async with Provider.opened(each.account, told=told) as provider:
            try:
                removal = Removal(registration=registration, was_there=await provider.delete(registration))
            except ProviderError as error:
                removal = Removal(registration=registration, error=error)
        ended.append(removal)
    return ended


def _doomed(each: Chosen, existing: Sequence[Registration], ids: Sequence[str]) -> list[Registration]:
    """What of the account is this source's, and is meant."""
    if not ids:
        return [one for one in existing if same_address(one.url, each.url)]
    name = registered_name(each.name)
    return [one for one in existing if one.id in ids and (same_address(one.url, each.url) or one.name == name)]


def _say_what_goes(asked: Asked, doomed: Sequence[tuple[Chosen, Registration]]) -> None:
    if asked.as_json:
        return
    for each, registration in doomed:
        text = f"{each.name}  {registration.id}  {asked.shown(registration.url)}"
        out.print(Text(f"- {plain(text)}", "red"))
