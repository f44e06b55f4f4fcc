"""A `Selection` as a WHERE clause over `event e` and `delivery d`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from relay.model import DeliveryState, Selection
from relay.stores.rows import to_micros


def where(conditions: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause of the conditions that have a value, and those values."""
    given = {condition: argument for condition, argument in conditions.items() if argument is not None}
    return (" WHERE " + " AND ".join(given) if given else ""), list(given.values())


def event_conditions(selection: Selection) -> dict[str, Any]:
    """What a selection says of events."""
    return {
        "e.id = ?": selection.event_id,
        "e.meeting = ?": selection.meeting,
        "e.source = ?": selection.source,
        "e.type GLOB ?": selection.type_glob,
        "e.received_at >= ?": None if selection.since is None else to_micros(selection.since),
        "e.received_at < ?": None if selection.until is None else to_micros(selection.until),
        "e.seq <= ?": selection.upto,
    }


def delivery_conditions(selection: Selection) -> dict[str, Any]:
    """What a selection says of deliveries and their events."""
    states = selection.states
    some = None if states == frozenset(DeliveryState) else ",".join(sorted(states))
    return event_conditions(selection) | {
        "d.sink = ?": selection.sink,
        "d.route = ?": selection.route,
        "instr(',' || ? || ',', ',' || d.state || ',')": some,
    }
