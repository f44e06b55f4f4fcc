"""One model for each event that Dyte and RealtimeKit document, and one for those that they do not yet.

The attributes mirror what is sent; the accessors (`meeting_id`, `session_id`, …) look in every place where an id may
sit, best first. Order and absence of duplicates are promised by nobody: compare times, and never take an event for
the latest because it came last.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field

from relay.events.parts import (
    MeetingInfo,
    OpenEndReason,
    OpenLivestreamStatus,
    OrganizedBy,
    ParticipantInfo,
    RecordingInfo,
)
from relay.events.reading import Part, Timestamp
from relay.payload import find


class BaseEvent(Part):
    """What all events have in common: their name."""

    event: str = Field(alias="event")
    """Name of the event."""


class MeetingEvent(BaseEvent):
    """An event with a `meeting`."""

    meeting: MeetingInfo | None = None
    """The meeting that this is about."""

    @property
    def meeting_id(self) -> str | None:
        """Id of the meeting."""
        return self.meeting.id if self.meeting else None

    @property
    def session_id(self) -> str | None:
        """Id of this occurrence of the meeting."""
        return self.meeting.session_id if self.meeting else None

    @property
    def organization_id(self) -> str | None:
        """Id of the organization that the meeting belongs to."""
        return self.meeting.organized_by.id if self.meeting and self.meeting.organized_by else None


class ParticipantEvent(MeetingEvent):
    """An event about one participant."""

    participant: ParticipantInfo | None = None
    """Who joined or left."""

    @property
    def participant_id(self) -> str | None:
        """The integrator's own id of the person, under its new or its old name."""
        if self.participant is None:
            return None
        return self.participant.custom_participant_id or self.participant.client_specific_id

    @property
    def peer_id(self) -> str | None:
        """Id of the connection: pairs a joined with its left within a session."""
        return self.participant.peer_id if self.participant else None


class MeetingStarted(MeetingEvent):
    """Fires when the first participant joins a meeting."""

    event: Literal["meeting.started"] = Field(alias="event")
    """Name of the event."""


class MeetingEnded(MeetingEvent):
    """Fires when all participants have left, about a minute later, or when the host has ended the meeting."""

    event: Literal["meeting.ended"] = Field(alias="event")
    """Name of the event."""
    reason: OpenEndReason | None = Field(None, examples=["ALL_PARTICIPANTS_LEFT"])
    """Why the meeting ended; sent since December 2021."""


class MeetingParticipantJoined(ParticipantEvent):
    """Fires when a participant joins a meeting."""

    event: Literal["meeting.participantJoined"] = Field(alias="event")
    """Name of the event."""


class MeetingParticipantLeft(ParticipantEvent):
    """Fires when a participant leaves a meeting or loses the connection."""

    event: Literal["meeting.participantLeft"] = Field(alias="event")
    """Name of the event."""


class MeetingChatSynced(BaseEvent):
    """Fires when the chat messages of a meeting can be downloaded, after its end. Flat: it has no `meeting`."""

    event: Literal["meeting.chatSynced"] = Field(alias="event")
    """Name of the event."""
    meeting_id: str | None = Field(None, examples=["50c8940e-1b97-402a-97d6-2708b7feca41"])
    """Id of the meeting."""
    session_id: str | None = Field(None, examples=["05e57591-d89e-45c9-ae44-08dc1eaad0e0"])
    """Id of this occurrence of the meeting."""
    title: str | None = Field(None, examples=["Weekly sync"])
    """Title of the meeting; RealtimeKit only."""
    chat_download_url: str | None = Field(None, repr=False, examples=["https://files.example/chat.csv"])
    """Where to fetch the messages. A secret."""
    chat_download_url_expiry: Timestamp | None = Field(None, examples=["2026-06-10T10:30:00.000Z"])
    """When the URL ends."""
    created_at: Timestamp | None = Field(None, examples=["2026-06-03T10:00:00.000Z"])
    """When the meeting was created; RealtimeKit only."""
    started_at: Timestamp | None = Field(None, examples=["2026-06-03T10:00:00.000Z"])
    """When the session started; RealtimeKit only."""
    ended_at: Timestamp | None = Field(None, examples=["2026-06-03T10:30:00.000Z"])
    """When the session ended; RealtimeKit only."""
    organized_by: OrganizedBy | None = None
    """The organization that the meeting belongs to."""

    @property
    def organization_id(self) -> str | None:
        """Id of the organization that the meeting belongs to."""
        return self.organized_by.id if self.organized_by else None


class MeetingTranscript(MeetingEvent):
    """Fires when the transcript of a meeting can be downloaded, after its end."""

    event: Literal["meeting.transcript"] = Field(alias="event")
    """Name of the event."""
    transcript_download_url: str | None = Field(None, repr=False, examples=["https://files.example/transcript.csv"])
    """Where to fetch the transcript, a CSV file. A secret."""
    transcript_download_url_expiry: Timestamp | None = Field(  # type: ignore[pydantic-alias]  # two spellings
        None,
        validation_alias=AliasChoices("transcriptDownloadUrlExpiry", "transcriptDownloadExpiry"),
        serialization_alias="transcriptDownloadUrlExpiry",
        examples=["2026-06-10T10:30:00.000Z"],
    )
    """When the URL ends; `transcriptDownloadExpiry` in the first days of December 2023."""


class MeetingSummary(MeetingEvent):
    """Fires when the written summary of a meeting can be downloaded, after its end."""

    event: Literal["meeting.summary"] = Field(alias="event")
    """Name of the event."""
    summary_download_url: str | None = Field(None, repr=False, examples=["https://files.example/summary.txt"])
    """Where to fetch the summary, plain text or Markdown. A secret."""
    summary_download_url_expiry: Timestamp | None = Field(None, examples=["2026-06-10T10:30:00.000Z"])
    """When the URL ends."""


class RecordingStatusUpdate(MeetingEvent):
    """Fires when a recording changes its state."""

    event: Literal["recording.statusUpdate"] = Field(alias="event")
    """Name of the event."""
    recording: RecordingInfo | None = None
    """The recording, in its new state."""

    @property
    def recording_id(self) -> str | None:
        """Id of the recording."""
        return (self.recording.recording_id or self.recording.id) if self.recording else None

    @property
    def meeting_id(self) -> str | None:
        """Id of the meeting, from the meeting or else from the recording."""
        return super().meeting_id or (self.recording.meeting_id if self.recording else None)

    @property
    def session_id(self) -> str | None:
        """Id of this occurrence of the meeting, from the meeting or else from the recording."""
        return super().session_id or (self.recording.room_uuid if self.recording else None)

    @property
    def organization_id(self) -> str | None:
        """Id of the organization, from the meeting or else from the recording."""
        return super().organization_id or (self.recording.organization_id if self.recording else None)


class LivestreamingStatusUpdate(MeetingEvent):
    """Fires when a livestream changes its state.

    Dyte sends the stream's id and state only, so no meeting is known; RealtimeKit adds the meeting and the ingest side.
    """

    event: Literal["livestreaming.statusUpdate"] = Field(alias="event")
    """Name of the event."""
    stream_id: str | None = Field(None, examples=["d231d346-c422-43a6-a324-c0d65b79c8a7"])
    """Id of the livestream."""
    status: OpenLivestreamStatus | None = Field(None, examples=["LIVE"])
    """What the livestream is doing now."""
    manual_ingest: bool | None = Field(None, examples=[False])
    """Whether the integrator feeds the stream; RealtimeKit only."""
    playback_url: str | None = Field(None, repr=False, examples=["https://live.example/live.m3u8"])
    """Where to watch; RealtimeKit only. Whoever has it can watch."""
    ingest_server: str | None = Field(None, examples=["rtmps://live.example/live"])
    """Where to send the stream to; RealtimeKit only."""
    stream_key: str | None = Field(None, repr=False, examples=["stream-key"])
    """What lets one send to `ingest_server`; RealtimeKit only. A secret."""


class UnknownEvent(BaseEvent):
    """An event that the catalogue does not know (yet). Its fields are all in `model_extra`."""

    @property
    def meeting_id(self) -> str | None:
        """Id of the meeting, where other events have it."""
        return find(self.model_extra or {}, "meeting.id", "recording.meetingId", "meetingId")

    @property
    def session_id(self) -> str | None:
        """Id of this occurrence of the meeting, where other events have it."""
        return find(self.model_extra or {}, "meeting.sessionId", "recording.roomUUID", "sessionId")

    @property
    def organization_id(self) -> str | None:
        """Id of the organization, where other events have it."""
        return find(self.model_extra or {}, "meeting.organizedBy.id", "recording.organizationId", "organizedBy.id")
