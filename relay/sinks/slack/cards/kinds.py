"""One card for each event type, for both shapes of the provider's payloads.

A card picks what it shows by name. So a livestream's key, a presigned address, and whatever the provider adds one day,
stay out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from relay.payload import Json, Payload
from relay.sinks.slack.cards.blocks import Card, Row, row
from relay.sinks.slack.cards.words import at, between, code, duration, moment, name, seconds, size, stop_reason

Kind: TypeAlias = Callable[[Payload], Card]

_RECORDING = {
    "INVOKED": (":hourglass_flowing_sand:", "Recording is starting"),
    "RECORDING": (":red_circle:", "Recording in progress"),
    "PAUSED": (":double_vertical_bar:", "Recording paused"),
    "UPLOADING": (":arrow_up:", "Recording is being uploaded"),
    "UPLOADED": (":white_check_mark:", "Recording is ready"),
    "ERRORED": (":x:", "Recording failed"),
}
_LIVESTREAM = {
    "INVOKED": (":hourglass_flowing_sand:", "Livestream is starting"),
    "LIVE": (":satellite_antenna:", "Livestream is live"),
    "IDLE": (":zzz:", "Livestream is idle"),
    "OFFLINE": (":black_circle:", "Livestream is offline"),
    "ERRORED": (":x:", "Livestream failed"),
}


def card_of(event_type: str, payload: Payload) -> Card | None:
    """The card of a known event type."""
    kind = _KINDS.get(event_type)
    return kind(payload) if kind else None


def _meeting_started(payload: Payload) -> Card:
    return Card(
        emoji=":large_green_circle:",
        headline=_titled("Meeting started", payload),
        rows=[*_organization(payload), *row("Started", moment(at(payload, "meeting.startedAt")))],
    )


def _meeting_ended(payload: Payload) -> Card:
    return Card(
        emoji=":checkered_flag:",
        headline=_titled("Meeting ended", payload),
        rows=[
            *row("Reason", code(at(payload, "reason"))),
            *row("Duration", _meeting_duration(payload)),
            *_organization(payload),
            *row("Ended", moment(at(payload, "meeting.endedAt"))),
        ],
    )


def _participant_joined(payload: Payload) -> Card:
    return Card(
        emoji=":wave:",
        headline=f"{_participant(payload)} joined",
        rows=[*_whereabouts(payload), *row("Joined", moment(at(payload, "participant.joinedAt")))],
    )


def _participant_left(payload: Payload) -> Card:
    stay = between(at(payload, "participant.joinedAt"), at(payload, "participant.leftAt"))
    return Card(
        emoji=":door:",
        headline=f"{_participant(payload)} left",
        rows=[
            *_whereabouts(payload),
            *row("Stayed", duration(stay)),
            *row("Left", moment(at(payload, "participant.leftAt"))),
        ],
    )


def _recording(payload: Payload) -> Card:
    emoji, headline = _status(_RECORDING, at(payload, "recording.status"), "Recording")
    recorded = seconds(at(payload, "recording.recordingDuration"))  # the provider's own example says 0 for 47 s
    recorded = recorded or between(at(payload, "recording.startedTime"), at(payload, "recording.stoppedTime"))
    return Card(
        emoji=emoji,
        headline=_titled(headline, payload),
        rows=[
            *row("Problem", name(payload, "recording.errMessage")),
            *row("Duration", duration(recorded)),
            *row("Size", size(at(payload, "recording.fileSize")) or size(at(payload, "recording.filesize"))),
            *row("File", name(payload, "recording.outputFileName")),
            *row("Stopped because", stop_reason(at(payload, "recording.stopReason"))),
            *row("Started", moment(at(payload, "recording.startedTime"))),
            *row("Available until", moment(at(payload, "recording.downloadUrlExpiry"))),
        ],
    )


def _livestream(payload: Payload) -> Card:
    emoji, headline = _status(_LIVESTREAM, at(payload, "status"), "Livestream")
    by_hand = at(payload, "manualIngest") is True
    return Card(
        emoji=emoji,
        headline=_titled(headline, payload),
        rows=[
            *_organization(payload),
            *row("Stream", name(payload, "streamId")),
            *row("Fed by", "an external encoder" if by_hand else ""),
        ],
    )


def _chat(payload: Payload) -> Card:
    return _ready(payload, ":speech_balloon:", "Chat is ready", expiry="chatDownloadUrlExpiry")


def _transcript(payload: Payload) -> Card:
    expiry = "transcriptDownloadUrlExpiry" if "transcriptDownloadUrlExpiry" in payload else "transcriptDownloadExpiry"
    return _ready(payload, ":page_facing_up:", "Transcript is ready", expiry=expiry)


def _summary(payload: Payload) -> Card:
    return _ready(payload, ":sparkles:", "Summary is ready", expiry="summaryDownloadUrlExpiry")


def _ready(payload: Payload, emoji: str, headline: str, *, expiry: str) -> Card:
    return Card(
        emoji=emoji,
        headline=_titled(headline, payload),
        rows=[
            *_organization(payload),
            *row("Duration", _meeting_duration(payload)),
            *row("Available until", moment(at(payload, expiry))),
        ],
    )


_KINDS: Mapping[str, Kind] = {
    "meeting.started": _meeting_started,
    "meeting.ended": _meeting_ended,
    "meeting.participantJoined": _participant_joined,
    "meeting.participantLeft": _participant_left,
    "meeting.chatSynced": _chat,
    "meeting.transcript": _transcript,
    "meeting.summary": _summary,
    "recording.statusUpdate": _recording,
    "livestreaming.statusUpdate": _livestream,
}


def _title(payload: Payload) -> str:
    return name(payload, "meeting.title", "title")  # chatSynced is flat


def _titled(headline: str, payload: Payload) -> str:
    title = _title(payload)
    return f"{headline}: {title}" if title else headline


def _participant(payload: Payload) -> str:
    paths = ("userDisplayName", "customParticipantId", "clientSpecificId")
    return name(payload, *(f"participant.{path}" for path in paths)) or "A participant"


def _whereabouts(payload: Payload) -> list[Row]:
    custom_id = name(payload, "participant.customParticipantId", "participant.clientSpecificId")
    return [
        *row("Meeting", _title(payload)),
        *row("Participant id", "" if custom_id == _participant(payload) else custom_id),
    ]


def _organization(payload: Payload) -> list[Row]:
    # An object since December 2021, the bare name before.
    paths = ("meeting.organizedBy.name", "organizedBy.name", "meeting.organizedBy", "organizedBy")
    return row("Organisation", name(payload, *paths))


def _meeting_duration(payload: Payload) -> str:
    def first(key: str) -> Json:
        return at(payload, f"meeting.{key}") or at(payload, key)

    return duration(between(first("startedAt"), first("endedAt")))


def _status(known: Mapping[str, tuple[str, str]], status: Json, what: str) -> tuple[str, str]:
    if isinstance(status, str) and status in known:
        return known[status]
    return ":grey_question:", f"{what}: {code(status) or 'state unknown'}"
