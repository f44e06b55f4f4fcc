"""`relay why`: all that is known of one event: what came, what the routes say, what every sink made of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.padding import Padding
from rich.text import Text

from relay.commands.consoles import out
from relay.commands.decisions import decision_json, print_decisions
from relay.commands.output import (
    config_option,
    counted,
    existing_store,
    json_option,
    listed,
    no_event,
    plain,
    print_json,
    print_problems,
    when,
)
from relay.commands.output import run as run_async
from relay.commands.standing import standings
from relay.commands.story import Story
from relay.config import glance
from relay.model import DeliveryState
from relay.records import DeliveryRecord
from relay.views import delivery_view, event_view

_STYLES = {DeliveryState.DELIVERED: "green", DeliveryState.DEAD: "red", DeliveryState.PENDING: "yellow"}


@click.command()
@config_option
@click.argument("event_id")
@json_option
def why(config_path: Path, event_id: str, as_json: bool) -> None:  # noqa: FBT001 - click calls it
    """Say why an event went where it went, and nowhere else: by our id, the start of it, or the sender's uuid.

    It shows what came; what every route of relay.yaml, as it is now, says of it; and for each sink every failed
    attempt, what the delivery waits for, and what to do. Of the content it shows what a condition looked at, and
    nothing else.

    \b
    Examples:
      relay why 01990f3c-5a12-7abc
      relay why 01990f3c-5a12-7abc --json
    """
    story = run_async(_read(config_path, event_id))
    now = datetime.now(UTC)
    if as_json:
        print_json(_json(story, now))
        return
    _print_event(story)
    _print_routes(story)
    out.print()
    for delivery in story.deliveries:
        _print_delivery(story, delivery, now)
    _print_difference(story)


async def _read(config_path: Path, event_id: str) -> Story:
    seen = glance(config_path, os.environ)
    async with existing_store(config_path) as store:
        record = await store.event(event_id)
        if record is None:
            no_event(event_id)
        deliveries = list(reversed(await store.deliveries(event_id=record.event.id, limit=10_000)))
        ahead = {each.id: first for each in deliveries if (first := await store.ahead(each.id)) is not None}
        sinks = standings(await store.sinks(), seen.sinks)
    return Story(event=record, deliveries=deliveries, ahead=ahead, standings=sinks, seen=seen)


def _print_event(story: Story) -> None:
    event = story.event.event
    came = f"from {event.source}, accepted {when(event.received_at)} UTC, {counted(len(event.body), 'byte')}"
    out.print(Text.assemble((plain(event.type), "bold"), f"  {plain(event.id)}  {plain(came)}"))
    for name, given in (("meeting", event.meeting), ("livestream", event.stream), ("uuid", event.uuid)):
        if given is not None:
            _indented(f"{name} {given}")
    detail = f": {story.event.detail}" if story.event.detail else ""
    _indented(f"{story.event.state}{detail}")
    if story.advice:
        _indented(story.advice, "yellow")


def _print_routes(story: Story) -> None:
    out.print()
    print_problems(story.seen, "what its routes say", story.seen.routes)
    print_decisions(story.decisions)


def _print_delivery(story: Story, delivery: DeliveryRecord, now: datetime) -> None:
    head = Text.assemble(
        (f"sink {plain(delivery.sink)}  ", "bold"),
        (delivery.state, _STYLES[delivery.state]),
        f"  by route {plain(delivery.route)}",
    )
    if delivery.settled_at is not None:
        head.append(f"  {when(delivery.settled_at)} UTC")
    if delivery.replay:
        head.append(f"  replayed {counted(delivery.replay, 'time')}, the last one for {when(delivery.replay_at)} UTC")
    out.print(head)
    for attempt in delivery.attempts:
        _indented(f"{when(attempt.at)}  {attempt.reason}: {attempt.detail}")
    if delivery.receipt:
        _indented(f"receipt: {delivery.receipt}")
    if holds := story.holds(delivery, now):
        _indented(holds, "yellow")
    if delivery.state is DeliveryState.DEAD:
        _indented(
            f"given up; send it again with `relay replay --event {delivery.event_id[:18]} --sink {delivery.sink}`",
            "yellow",
        )


def _print_difference(story: Story) -> None:
    """Where today's routes differ from those that chose the deliveries."""
    if story.missing:
        again = f"`relay replay --event {story.event.event.id[:18]} --reroute --dry-run`"
        _line(f"the routes of today would also send it to {listed(story.missing)}: see {again}", "yellow")
    if story.no_longer:
        _line(f"the routes of today would no longer send it to {listed(story.no_longer)}", "dim")
    if story.changed and not story.missing and not story.no_longer:
        _line("relay.yaml has changed since; for this event it chooses the same sinks", "dim")


def _line(text: str, style: str = "") -> None:
    out.print(Text(plain(text), style))


def _indented(text: str, style: str = "") -> None:
    """A line of its own, which wraps within its indent on a terminal."""
    if out.is_terminal:
        out.print(Padding(Text(plain(text), style), (0, 0, 0, 4), expand=False), soft_wrap=False)
    else:
        _line(f"    {text}", style)


def _json(story: Story, now: datetime) -> dict[str, object]:
    return {
        "event": event_view(story.event),
        "advice": story.advice,
        "routes": [decision_json(options, decision) for options, decision in story.decisions],
        "deliveries": [_delivery_json(story, delivery, now) for delivery in story.deliveries],
        "missing": story.missing,
        "no_longer": story.no_longer,
        "config_changed": story.changed,
        "problems": [str(problem) for problem in story.seen.problems],
    }


def _delivery_json(story: Story, delivery: DeliveryRecord, now: datetime) -> dict[str, object]:
    first = story.ahead.get(delivery.id)
    waits = {"holds": story.holds(delivery, now), "waits_for": None if first is None else first.event_id}
    return delivery_view(delivery) | waits
