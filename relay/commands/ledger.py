"""`relay events` and `relay deliveries`: what came, and where it went."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from relay.commands.consoles import out
from relay.commands.output import (
    config_option,
    counted,
    existing_store,
    filter_option,
    json_option,
    no_event,
    plain,
    print_json,
    print_table,
    short,
    when,
)
from relay.commands.output import run as run_async
from relay.model import DeliveryState, EventState
from relay.records import DeliveryRecord, EventRecord
from relay.views import Body, delivery_view, event_view

limit_option = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="At most.")


@click.group()
def events() -> None:
    """Look at the events that came in.

    \b
    Examples:
      relay events list --type 'recording.*'
      relay events show 01990f3c-5a12-7abc
    """


@events.command("list")
@config_option
@filter_option("--type", "type_glob", help="Only these types; a glob such as 'recording.*'.")
@filter_option("--meeting", help="Only of this meeting.")
@filter_option("--source", help="Only of this source.")
@click.option("--state", type=click.Choice([state.value for state in EventState]), help="Only in this state.")
@limit_option
@json_option
def list_events(
    config_path: Path,
    type_glob: str | None,
    meeting: str | None,
    source: str | None,
    state: str | None,
    limit: int,
    as_json: bool,  # noqa: FBT001 - click calls it
) -> None:
    """List events, newest first.

    \b
    Examples:
      relay events list
      relay events list --type 'recording.*' --limit 5
      relay events list --state unrouted --json
    """
    wanted = None if state is None else EventState(state)

    async def read() -> list[EventRecord]:
        async with existing_store(config_path) as store:
            return list(
                await store.events(type_glob=type_glob, meeting=meeting, source=source, state=wanted, limit=limit)
            )

    records = run_async(read())
    if as_json:
        print_json([event_view(record) for record in records])
        return
    if not records:
        out.print("no events")
        return
    columns = ("accepted (UTC)", "event", "source", "type", "meeting", "state")
    whole = ("accepted (UTC)", "event", "state")
    print_table(columns, [_event_row(record) for record in records], whole=whole, spare=("source", "meeting"))


@events.command("show")
@config_option
@click.argument("event_id")
@click.option("--body", "with_body", is_flag=True, help="Print the body too, without keys and presigned links.")
@click.option("--reveal", is_flag=True, help="Print the whole body, as it was signed.")
@json_option
def show_event(config_path: Path, event_id: str, with_body: bool, reveal: bool, as_json: bool) -> None:  # noqa: FBT001
    """Show one event and its deliveries: by our id, the start of it, or the sender's uuid.

    \b
    Examples:
      relay events show 01990f3c-5a12-7abc
      relay events show 01990f3c-5a12-7abc --body
      relay events show 01990f3c-5a12-7abc --reveal
    """
    body = Body.WHOLE if reveal else Body.CONCEALED if with_body else Body.NONE

    async def read() -> tuple[EventRecord | None, list[DeliveryRecord]]:
        async with existing_store(config_path) as store:
            found = await store.event(event_id)
            if found is None:
                return None, []
            return found, list(await store.deliveries(event_id=found.event.id, limit=1000))

    record, deliveries_of_it = run_async(read())
    if record is None:
        no_event(event_id)
    if as_json:
        print_json(
            event_view(record, body=body) | {"deliveries": [delivery_view(delivery) for delivery in deliveries_of_it]}
        )
        return
    _print_event(record, body=body)
    out.print()
    _print_deliveries(deliveries_of_it)


@click.group()
def deliveries() -> None:
    """Look at where events went.

    \b
    Examples:
      relay deliveries list --state dead
    """


@deliveries.command("list")
@config_option
@filter_option("--event", "event_id", help="Only of this event: its id, the start of it, or the uuid.")
@filter_option("--sink", help="Only to this sink.")
@click.option("--state", type=click.Choice([state.value for state in DeliveryState]), help="Only in this state.")
@filter_option("--meeting", help="Only of this meeting.")
@limit_option
@json_option
def list_deliveries(
    config_path: Path,
    event_id: str | None,
    sink: str | None,
    state: str | None,
    meeting: str | None,
    limit: int,
    as_json: bool,  # noqa: FBT001 - click calls it
) -> None:
    """List deliveries, newest first, with the reason where one failed.

    \b
    Examples:
      relay deliveries list --state dead
      relay deliveries list --sink crm --state pending --json
    """
    wanted = None if state is None else DeliveryState(state)

    async def read() -> list[DeliveryRecord]:
        async with existing_store(config_path) as store:
            event = None if event_id is None else await store.event(event_id)
            whole_id = event.event.id if event else event_id
            return list(
                await store.deliveries(event_id=whole_id, sink=sink, state=wanted, meeting=meeting, limit=limit)
            )

    records = run_async(read())
    if as_json:
        print_json([delivery_view(record) for record in records])
        return
    _print_deliveries(records)


def _print_event(record: EventRecord, *, body: Body) -> None:
    for name, value in event_view(record, body=body).items():
        text = ", ".join(f"{key}: {each}" for key, each in value.items()) if isinstance(value, dict) else value
        if text not in (None, ""):
            out.print(f"{name:14}{plain(str(text), keep=chr(10))}", markup=False)


def _print_deliveries(records: list[DeliveryRecord]) -> None:
    if not records:
        out.print("no deliveries")
        return
    columns = ("event", "type", "sink", "route", "state", "when (UTC)")
    rows = [_delivery_row(record) for record in records]
    whole = ("event", "state", "when (UTC)")
    print_table(columns, rows, whole=whole, spare=("route",), notes=[_result(record) for record in records])


def _event_row(record: EventRecord) -> Sequence[str]:
    event = record.event
    state = f"{record.state}: {record.detail}" if record.detail else record.state
    thread = event.meeting or event.stream or "–"
    return when(event.received_at), short(event.id), event.source, event.type, thread, state


def _delivery_row(record: DeliveryRecord) -> Sequence[str]:
    moment = when(record.settled_at or record.due_at)
    return short(record.event_id), record.type, record.sink, record.route, record.state, moment


def _result(record: DeliveryRecord) -> str:
    """The reason or the receipt."""
    if record.state is DeliveryState.PENDING and record.due_at is None:
        return "waits for an earlier event of its meeting"
    if not record.reason:
        return record.receipt
    before = f"{counted(len(record.attempts), 'attempt')}, the last: " if record.state is DeliveryState.PENDING else ""
    return f"{before}{record.reason}: {record.detail}"
