"""The event types that are known: a closed set, wherever a type becomes part of a name (metric label, Kafka topic)."""

from __future__ import annotations

from collections.abc import Mapping

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


def _of(part: str, fields: str) -> frozenset[str]:
    return frozenset({part, *(f"{part}.{name}" for name in fields.split())})


_OWNER = "organizedBy organizedBy.id organizedBy.name"
_MEETING = _of("meeting", f"id sessionId title status roomName createdAt startedAt endedAt {_OWNER}")
_PARTICIPANT = _of("participant", "peerId userDisplayName customParticipantId clientSpecificId joinedAt leftAt")
_RECORDING = _of(
    "recording",
    "id recordingId meetingId organizationId roomUUID status stopReason errMessage outputFileName fileSize filesize "
    "recordingDuration invokedTime startedTime stoppedTime downloadUrl downloadUrlExpiry audioDownloadUrl",
)
_CHAT = f"meetingId sessionId title createdAt startedAt endedAt chatDownloadUrl chatDownloadUrlExpiry {_OWNER}"
_TRANSCRIPT = "transcriptDownloadUrl transcriptDownloadUrlExpiry transcriptDownloadExpiry"

KNOWN_FIELDS: Mapping[str, frozenset[str]] = {
    "meeting.started": _MEETING,
    "meeting.ended": _MEETING | {"reason"},
    "meeting.participantJoined": _MEETING | _PARTICIPANT,
    "meeting.participantLeft": _MEETING | _PARTICIPANT,
    "meeting.chatSynced": frozenset(_CHAT.split()),
    "meeting.transcript": _MEETING | frozenset(_TRANSCRIPT.split()),
    "meeting.summary": _MEETING | {"summaryDownloadUrl", "summaryDownloadUrlExpiry"},
    "recording.statusUpdate": _MEETING | _RECORDING,
    "livestreaming.statusUpdate": _MEETING
    | {"streamId", "status", "ingestServer", "streamKey", "playbackUrl", "manualIngest"},
}
"""The dotted paths that may stand in an event of each type, but for `event`, which all have; a copy of what the
catalogue says, because to build its models takes longer than all of a command."""


def has_field(fields: frozenset[str], path: str) -> bool:
    """Whether one of them is this path, or may hold it: in a field that is no described part anything may stand."""
    steps = path.split(".")
    for length in range(len(steps), 0, -1):
        prefix = ".".join(steps[:length])
        if prefix == "event" or prefix in fields:
            return length == len(steps) or not any(field.startswith(f"{prefix}.") for field in fields)
    return False


OTHER = "other"
"""Stands for every type that is not known."""


def type_label(event_type: str) -> str:
    """The type itself if it is a known one, else `other`: a sender cannot choose new labels or topics."""
    return event_type if event_type in KNOWN_TYPES else OTHER
