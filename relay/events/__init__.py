"""The event catalogue: a typed model for each Dyte and RealtimeKit event, for whoever consumes what the relay sends.

    from relay.events import MeetingEnded, RecordingStatusUpdate, parse_event

    match parse_event(message.value):
        case MeetingEnded() as event:
            close(event.session_id, event.reason)
        case RecordingStatusUpdate(recording_id=recording_id, recording=recording) if recording:
            note(recording_id, recording.status, recording.file_size)

The models absorb how the sender's shapes drift (two forms of time, numbers as texts, fields that come and go, both
providers, 2021 to today), so that a consumer does not have to.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from relay.events.catalogue import (
    BaseEvent,
    LivestreamingStatusUpdate,
    MeetingChatSynced,
    MeetingEnded,
    MeetingParticipantJoined,
    MeetingParticipantLeft,
    MeetingStarted,
    MeetingSummary,
    MeetingTranscript,
    RecordingStatusUpdate,
    UnknownEvent,
)
from relay.events.parts import (
    EndReason,
    LivestreamStatus,
    MeetingInfo,
    OrganizationInfo,
    ParticipantInfo,
    RecordingInfo,
    RecordingStatus,
)
from relay.payload import decode

__all__ = [
    "CATALOGUE",
    "BaseEvent",
    "DyteEvent",
    "EndReason",
    "KnownEvent",
    "LivestreamStatus",
    "LivestreamingStatusUpdate",
    "MeetingChatSynced",
    "MeetingEnded",
    "MeetingInfo",
    "MeetingParticipantJoined",
    "MeetingParticipantLeft",
    "MeetingStarted",
    "MeetingSummary",
    "MeetingTranscript",
    "OrganizationInfo",
    "ParticipantInfo",
    "RecordingInfo",
    "RecordingStatus",
    "RecordingStatusUpdate",
    "UnknownEvent",
    "parse_event",
]

KnownEvent: TypeAlias = (
    MeetingStarted
    | MeetingEnded
    | MeetingParticipantJoined
    | MeetingParticipantLeft
    | MeetingChatSynced
    | MeetingTranscript
    | MeetingSummary
    | RecordingStatusUpdate
    | LivestreamingStatusUpdate
)
"""The nine documented events. As a union, so that `match` can be checked for completeness."""

DyteEvent: TypeAlias = KnownEvent | UnknownEvent
"""What `parse_event` returns. Every member has `event`, `meeting_id`, `session_id`, `organization_id`, `unreadable`."""

CATALOGUE: Mapping[str, type[KnownEvent]] = MappingProxyType(
    {
        "meeting.started": MeetingStarted,
        "meeting.ended": MeetingEnded,
        "meeting.participantJoined": MeetingParticipantJoined,
        "meeting.participantLeft": MeetingParticipantLeft,
        "meeting.chatSynced": MeetingChatSynced,
        "meeting.transcript": MeetingTranscript,
        "meeting.summary": MeetingSummary,
        "recording.statusUpdate": RecordingStatusUpdate,
        "livestreaming.statusUpdate": LivestreamingStatusUpdate,
    }
)
"""Model of each documented event, by the event's name."""


def parse_event(body: bytes | str | Mapping[str, Any]) -> DyteEvent:
    """Make a typed event of a body, or of a body that is decoded already.

    A field that cannot be read does not fail the event: it is None, and `event.unreadable` holds what was sent. An
    event that the catalogue does not know becomes an `UnknownEvent`.

    Raises:
        ValueError: the body is not a JSON object (nested 64 levels deep at most) with an event name.
    """
    payload = body if isinstance(body, Mapping) else _decode(body)
    name = payload.get("event")
    if not isinstance(name, str) or not name:
        raise ValueError("not an event: its name is missing")
    return CATALOGUE.get(name, UnknownEvent).model_validate(payload)


def _decode(body: bytes | str) -> Mapping[str, Any]:
    decoded = decode(body.encode(errors="replace") if isinstance(body, str) else body)
    if decoded.defect is not None:
        raise ValueError(f"not an event: {decoded.defect}")
    return decoded.payload
