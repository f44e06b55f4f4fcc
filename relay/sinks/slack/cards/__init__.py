"""Cards: what Slack is told of an event when no template says otherwise.

`card(delivery)` is total: it yields a message that Slack takes for any payload at all, however hostile. It reads the
payload that is to be sent, so what `redact` removed is not shown.
"""

from __future__ import annotations

from relay.model import Delivery
from relay.payload import Payload, find
from relay.sinks.slack.cards.blocks import Card, Message, envelope, markup_blocks, message, row
from relay.sinks.slack.cards.kinds import card_of
from relay.sinks.slack.cards.picture import picture, readable
from relay.sinks.slack.cards.words import duration, moment, said, short, size

__all__ = ["Message", "card", "duration", "envelope", "markup_blocks", "moment", "picture", "readable", "size"]

_DEFECTS = {
    "not_json": "It is not JSON",
    "not_object": "It is not a JSON object",
    "too_deep": "It is nested too deeply",
    "no_type": "It names no event type",
}


def card(delivery: Delivery) -> Message:
    """The message for a delivery: its event type's card, or a plain one for what is unknown or unreadable."""
    event, payload = delivery.event, delivery.payload
    context = [said(event.type), _meeting(payload), f"source {event.source}"]
    marks = [":repeat: replayed"] if delivery.replay > 0 else []
    return message(card_of(event.type, payload) or _plain_card(delivery), context=context, marks=marks)


def _meeting(payload: Payload) -> str:
    identifier = find(payload, "meeting.id", "recording.meetingId", "meetingId")
    return f"meeting {short(identifier)}" if identifier else ""


def _plain_card(delivery: Delivery) -> Card:
    event = delivery.event
    return Card(
        emoji=":grey_question:" if event.defect is None else ":warning:",
        headline=f"Event: {said(event.type)}" if event.defect is None else "An event that cannot be read",
        rows=[
            *row("Problem", _DEFECTS.get(event.defect, "") if event.defect else ""),
            *row("Size", size(len(event.body)) or "empty"),
            *row("Received", moment(event.received_at.isoformat())),
            *row("Event id", said(event.id)),
        ],
    )
