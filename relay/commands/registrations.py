"""How registrations are shown: as a diff with what the routes need, as a list, and as what came of a change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rich.text import Text

from relay.commands.consoles import err, out
from relay.commands.output import counted, plain, print_table
from relay.commands.registering import Asked, Chosen, Plan
from relay.errors import ProviderError
from relay.model import value
from relay.registration import Account, Action, Done, Registration, Step, Stray, cautions, plan, same_address
from relay.vocabulary import KNOWN_TYPES

_WORDS = {
    Action.CREATE: ("to register", "green"),
    Action.CHANGE: ("to change", "yellow"),
    Action.KEEP: ("in sync", "green"),
    Action.DOUBLED: ("registered more than once", "red"),
    Action.UNNEEDED: ("without a route", "yellow"),
}
_ONLY_FALLBACK = "* only a fallback route takes these: narrow its `events` to be sent less"


@value
class Failed:
    """A step that could not be done."""

    step: Step
    error: ProviderError


@value
class Removal:
    """What came of taking one away."""

    registration: Registration
    was_there: bool = False
    error: ProviderError | None = None


# A plan


def print_plan(asked: Asked, planned: Plan) -> None:
    """What is registered and what the routes need, as a diff for each source."""
    for problem in asked.found.warnings:
        err.print(plain(f"warning: {problem}"), style="yellow", markup=False)
    for each, step in zip(asked.chosen, planned.steps, strict=True):
        _print_step(asked, each, step)
        out.print()
    for stray in planned.strays:
        out.print(Text(plain(f"! {_stray(asked, stray)}"), "yellow"))
    actions = [step.action for step in planned.steps]
    known = [(actions.count(action), *_WORDS[action]) for action in _WORDS if action in actions]
    out.print(Text(", ").join(Text(f"{count} {word}", style) for count, word, style in known))


def step_json(asked: Asked, each: Chosen, step: Step) -> dict[str, object]:
    """A step for machines."""
    return {
        "source": step.source,
        "provider": each.account.provider,
        "url": asked.shown(step.url),
        "action": step.action,
        "name": step.name,
        "registrations": [registration_json(asked, found) for found in step.found],
        "wanted": step.wanted,
        "missing": step.missing,
        "idle": step.idle,
        "only_fallback": sorted(step.only_fallback),
        "cautions": _cautions(each, step),
    }


def registration_json(asked: Asked, registration: Registration) -> dict[str, object]:
    """A registration for machines."""
    return {
        "id": registration.id,
        "name": registration.name,
        "url": asked.shown(registration.url),
        "events": sorted(registration.events),
        "enabled": registration.enabled,
        "created_at": registration.created,
    }


def _print_step(asked: Asked, each: Chosen, step: Step) -> None:
    out.print(Text.assemble((each.name, "bold"), f" at {each.account.label}: {plain(asked.shown(step.url))}"))
    _line(*_headline(step))
    for registration in step.found if step.action is Action.DOUBLED else ():
        _line("  ", "", f"{registration.id}  {_state(registration)}  {registration.name}")
    if step.action is not Action.KEEP:
        _print_events(step)
    for text in _cautions(each, step):
        _line("! ", "yellow", text)


def _headline(step: Step) -> tuple[str, str, str]:
    """Mark, style and text of what a step does."""
    found = _named(step.found[0]) if step.found else ""
    match step.action:
        case Action.CREATE:
            return "+ ", "green", f"register it as {step.name}, with {counted(len(step.wanted), 'event')}"
        case Action.CHANGE:
            return "~ ", "yellow", f"change the events of {found}, which stays {_state(step.found[0])}"
        case Action.KEEP:
            return "= ", "green", f"in sync: {counted(len(step.wanted), 'event')}, {found}"
        case Action.DOUBLED:
            text = f"registered {len(step.found)} times, and each that is enabled brings every event once more"
            return "! ", "red", f"{text}; delete all but one: `relay webhooks delete --id ID`"
        case Action.UNNEEDED:
            end = f"; end it with `relay webhooks delete {step.source}`: {found}" if found else ""
            return "! ", "yellow", f"no route takes an event of this source{end}"


def _print_events(step: Step) -> None:
    """One line for each type: what is gained, what is lost, what stays, and who takes it."""
    types = sorted(step.wanted.keys() | step.subscribed)
    width = max(map(len, types), default=0)
    for event in types:
        takers = ", ".join(step.wanted.get(event, ())) + (" *" if event in step.only_fallback else "")
        if event not in step.wanted:
            _line("  - ", "red", f"{event:{width}}  subscribed, and no route takes it")
        elif event not in step.subscribed:
            _line("  + ", "green", f"{event:{width}}  {takers}")
        else:
            _line("    ", "", f"{event:{width}}  {takers}")
    if step.only_fallback:
        _line("    ", "dim", _ONLY_FALLBACK)


def _cautions(each: Chosen, step: Step) -> Sequence[str]:
    """What of its source's allow-lists stands in the way."""
    options = each.options
    organization = None if options.api is None else options.api.organization_id
    return cautions(
        step, webhook_ids=options.webhook_ids, organization=organization, organizations=options.organizations
    )


def _stray(asked: Asked, stray: Stray) -> str:
    registration = stray.registration
    about = f"{_named(registration)} is at {asked.shown(registration.url)}"
    if stray.named:
        return f"{about}: if that was ours before, take it away with `relay webhooks delete --id {registration.id}`"
    return f"{about}, where no source is: what is meant for this relay is lost there"


# What came of it


def print_result(each: Chosen, result: Done | Failed) -> None:
    """What came of a step, and what is left to do."""
    if isinstance(result, Failed):
        for line in str(result.error).splitlines():
            err.print(plain(f"{each.name}: {line}"), style="red", markup=False)
        return
    if result.registration is None:
        return
    created = result.step.action is Action.CREATE
    _say(each, "green", f"{'registered as' if created else 'changed:'} {result.registration.id}")
    if result.note:
        _say(each, "", result.note)
    if created:
        made = replace(result.step, action=Action.KEEP, found=(result.registration,))
        for text in _cautions(each, made):
            _say(each, "yellow", text)
        if not each.options.webhook_ids:
            _say(each, "dim", f"to let in nothing else, write `webhook_ids: [{result.registration.id}]`")


def result_json(asked: Asked, result: Done | Failed) -> dict[str, object]:
    """What came of a step, for machines."""
    about: dict[str, object] = {"source": result.step.source, "action": result.step.action}
    if isinstance(result, Failed):
        return about | {"done": False, "registration": None, "note": "", "error": str(result.error)}
    made = None if result.registration is None else registration_json(asked, result.registration)
    return about | {"done": result.whole, "registration": made, "note": result.note, "error": None}


def print_removals(ended: Sequence[Removal]) -> None:
    """What was taken away."""
    for each in ended:
        if each.error is not None:
            err.print(plain(f"{each.registration.id}: {each.error}"), style="red", markup=False)
        else:
            text = "was deleted" if each.was_there else "was gone already"
            out.print(plain(f"{each.registration.id} {text}"), markup=False)
    if not ended:
        out.print("nothing of ours is registered")


def removal_json(asked: Asked, removal: Removal) -> dict[str, object]:
    """What was taken away, for machines."""
    error = None if removal.error is None else str(removal.error)
    return registration_json(asked, removal.registration) | {"was_there": removal.was_there, "error": error}


# What there is


def print_accounts(asked: Asked, accounts: Mapping[Account, Sequence[Registration]]) -> None:
    """A table for each account."""
    for index, (account, existing) in enumerate(accounts.items()):
        if index:
            out.print()
        out.print(Text.assemble((account.label, "bold"), f"  {account.url}"))
        if not existing:
            out.print("no webhooks")
            continue
        notes = [_about(asked, account, each) for each in existing]
        rows = [_row(each, _owner(asked, account, each)) for each in existing]
        print_table(("source", "id", "state", "name"), rows, whole=("id", "state"), notes=notes)


def rows_json(asked: Asked, accounts: Mapping[Account, Sequence[Registration]]) -> list[dict[str, object]]:
    """All of them for machines."""
    rows = []
    for account, existing in accounts.items():
        for each in existing:
            owner = _owner(asked, account, each)
            source = None if owner is None else owner.name
            rows.append({"source": source, "provider": account.provider, **registration_json(asked, each)})
    return rows


def _row(registration: Registration, owner: Chosen | None) -> Sequence[str | Text]:
    return (
        Text("–", "dim") if owner is None else owner.name,
        registration.id,
        Text(_state(registration), "green" if registration.enabled else "yellow"),
        registration.name,
    )


def _about(asked: Asked, account: Account, registration: Registration) -> str:
    """Address and events, and of ours what does not fit the routes."""
    every = registration.events == KNOWN_TYPES
    texts = [asked.shown(registration.url), "all events" if every else ", ".join(sorted(registration.events))]
    if (owner := _owner(asked, account, registration)) is not None:
        step = plan(owner.name, owner.url, asked.routes, [registration])
        texts += [f"routed, and not subscribed to: {', '.join(step.missing)}"] if step.missing else []
        texts += [f"subscribed, and goes nowhere: {', '.join(step.idle)}"] if step.idle else []
    return "; ".join(texts)


def _owner(asked: Asked, account: Account, registration: Registration) -> Chosen | None:
    ours = (each for each in asked.chosen if each.account == account and each.url)
    return next((each for each in ours if same_address(each.url, registration.url)), None)


def _named(registration: Registration) -> str:
    return registration.id + (f" ({registration.name})" if registration.name else "")


def _state(registration: Registration) -> str:
    return "enabled" if registration.enabled else "disabled"


def _line(mark: str, style: str, text: str) -> None:
    out.print(Text(f"  {mark}{plain(text)}", style))


def _say(each: Chosen, style: str, text: str) -> None:
    out.print(Text(plain(f"{each.name}: {text}"), style))
