"""All that is known of one event, read once and judged by the relay.yaml of today."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from relay.commands.output import age, when
from relay.commands.standing import Standing
from relay.config import Glance
from relay.model import DeliveryState, EventState, Quarantine, value
from relay.records import DeliveryRecord, EventRecord
from relay.routing import Decision, RouteOptions, RouteTable


@value
class Story:
    """What came, and what became of it."""

    event: EventRecord
    deliveries: Sequence[DeliveryRecord]
    ahead: Mapping[int, DeliveryRecord]
    """What a delivery that waits for its turn waits for, by the id of the one that waits."""
    standings: Mapping[str, Standing]
    seen: Glance

    @property
    def decisions(self) -> Sequence[tuple[RouteOptions, Decision]]:
        """What each of today's routes says, in the order of the file; empty where they are not known."""
        routes = self.seen.routes or ()
        return list(zip(routes, RouteTable(routes, orders={}).explain(self.event.event), strict=True))

    @property
    def missing(self) -> Sequence[str]:
        """Sinks that today's routes would send it to, and that never got it."""
        had = {delivery.sink for delivery in self.deliveries}
        return [sink for sink in self._today() if sink not in had]

    @property
    def no_longer(self) -> Sequence[str]:
        """Sinks that were to get it, and that no route of today sends it to."""
        if self.seen.routes is None:
            return []
        today = self._today()
        return [delivery.sink for delivery in self.deliveries if delivery.sink not in today]

    @property
    def changed(self) -> bool:
        """Whether relay.yaml is another one than that which chose a delivery, as far as that is known."""
        config = self.seen.config
        return config is not None and any(delivery.config != config.hash for delivery in self.deliveries)

    def _today(self) -> Sequence[str]:
        if self.event.state is EventState.QUARANTINED:
            return []
        matched = (options for options, decision in self.decisions if decision.matched)
        return list(dict.fromkeys(sink for options in matched for sink in options.to))

    @property
    def advice(self) -> str:
        """Why it has no deliveries, or is no usual event, and what to do; empty where there is nothing to say."""
        event, again = self.event.event, f"`relay replay --event {self.event.event.id[:18]} --reroute`"
        if self.event.state is EventState.QUARANTINED:
            return f"{_quarantined(self.event)}; if it is for you, add it there, then {again}"
        if self.event.state is EventState.UNROUTED:
            then = "today's do: send it with" if self._today() else "add or mend a route, then"
            return f"no route took it when it came; {then} {again}"
        if event.defect is not None:
            return f"its body cannot be read ({event.defect}): only fallback routes without `where` take it"
        return ""

    def holds(self, delivery: DeliveryRecord, now: datetime) -> str:
        """What a delivery waits for; empty for one that is settled."""
        if delivery.state is not DeliveryState.PENDING:
            return ""
        if delivery.leased and delivery.due_at is not None and delivery.due_at > now:
            return f"an attempt is under way; if it is never heard of, the next comes at {when(delivery.due_at)} UTC"
        if (first := self.ahead.get(delivery.id)) is not None:
            return f"it waits for its turn: {self._first(first, now)}"
        return self._closed(delivery.sink) or _due(delivery, now)

    def _first(self, first: DeliveryRecord, now: datetime) -> str:
        last = f"; its last attempt: {first.reason}: {first.detail}" if first.reason else ""
        return f"{first.type} {first.event_id[:18]} of the same meeting goes first, and {self.holds(first, now)}{last}"

    def _closed(self, sink: str) -> str:
        standing = self.standings.get(sink)
        return "" if standing is None else standing.holds


def _due(delivery: DeliveryRecord, now: datetime) -> str:
    if delivery.due_at is None:
        return "it waits for an earlier event of its meeting"
    if delivery.due_at > now:
        return f"it is tried next at {when(delivery.due_at)} UTC, in {age(delivery.due_at - now)}"
    turn = "when nothing that came in waits for the sink" if delivery.replay else "at once"
    return f"it is due since {when(delivery.due_at)} UTC; a relay that runs sends it {turn}"


def _quarantined(record: EventRecord) -> str:
    event = record.event
    if record.detail == Quarantine.WEBHOOK_ID:
        return f"its webhook id {event.webhook_id!r} was not in `webhook_ids` of source {event.source}"
    what = "no organisation" if event.organization is None else f"the organisation {event.organization!r}"
    return f"it names {what}, and that was not in `organizations` of source {event.source}"
