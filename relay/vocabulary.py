"""The event types that are known: a closed set, wherever a type becomes part of a name (metric label, Kafka topic)."""

from __future__ import annotations

KNOWN_TYPES: frozenset[str] = frozenset(
    {
        "meeting.started",
        "meeting.ended",
        "meeting.participantJoined",
        "meeting.participantLeft",
        "meeting.chatSynced",
        "meeting.transcript",
        "meeting.summary",
        "recording.statusUpdate",
        "livestreaming.statusUpdate",
    }
)
"""All event types that Dyte and RealtimeKit document: https://docs.dyte.io/guides/capabilities/webhooks/webhook-events"""

OTHER = "other"
"""Stands for every type that is not known."""


def type_label(event_type: str) -> str:
    """The type itself if it is a known one, else `other`: a sender cannot choose new labels or topics."""
    return event_type if event_type in KNOWN_TYPES else OTHER
