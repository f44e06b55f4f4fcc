"""The objects that events are made of: organization, meeting, participant, recording; and their closed-looking words.

Every enumeration is open: a value that is not listed stays the text that was sent.
Facts: https://docs.dyte.io/guides/capabilities/webhooks/webhook-events and
https://developers.cloudflare.com/realtime/realtimekit/webhooks/.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, TypeAlias
from uuid import UUID

from pydantic import AliasChoices, BeforeValidator, Field

from relay.events.reading import Number, Part, Timestamp


class EndReason(StrEnum):
    """Why a meeting ended."""

    HOST_ENDED_MEETING = "HOST_ENDED_MEETING"
    ALL_PARTICIPANTS_LEFT = "ALL_PARTICIPANTS_LEFT"


class RecordingStatus(StrEnum):
    """How far a recording is. The order is INVOKED, RECORDING, UPLOADING, UPLOADED; deliveries may come out of it."""

    INVOKED = "INVOKED"
    """Asked for; the recorder is starting."""
    RECORDING = "RECORDING"
    PAUSED = "PAUSED"
    """Known from the REST API; whether a webhook is sent for it is undocumented."""
    UPLOADING = "UPLOADING"
    UPLOADED = "UPLOADED"
    """The file is there: `download_url` is set."""
    ERRORED = "ERRORED"
    """There will be no file."""


class LivestreamStatus(StrEnum):
    """What a livestream is doing."""

    LIVE = "LIVE"
    IDLE = "IDLE"
    OFFLINE = "OFFLINE"


OpenEndReason: TypeAlias = Annotated[EndReason | str, Field(union_mode="left_to_right")]
OpenRecordingStatus: TypeAlias = Annotated[RecordingStatus | str, Field(union_mode="left_to_right")]
OpenLivestreamStatus: TypeAlias = Annotated[LivestreamStatus | str, Field(union_mode="left_to_right")]


class OrganizationInfo(Part):
    """The organization (Dyte) or app owner (RealtimeKit) that a meeting belongs to; not a person."""

    id: str | None = Field(None, examples=["c94c437b-592a-4a39-b9e2-47ef1451e43b"])
    """Id of the organization. The only signed proof of whose event this is: one key signs for all customers."""
    name: str | None = Field(None, examples=["Example organization"])
    """Name of the organization."""


def _read_organization(value: object) -> object:
    """November 2021's shape was a bare text."""
    if not isinstance(value, str):
        return value
    try:
        return {"id": str(UUID(value))}
    except ValueError:
        return {"name": value}


OrganizedBy: TypeAlias = Annotated[
    OrganizationInfo, BeforeValidator(_read_organization, json_schema_input_type=OrganizationInfo | str)
]


class MeetingInfo(Part):
    """The meeting that an event is about, as far as this event tells."""

    id: str | None = Field(None, examples=["50c8940e-1b97-402a-97d6-2708b7feca41"])
    """Permanent id of the meeting (the room); the same over all of its sessions."""
    session_id: str | None = Field(None, examples=["05e57591-d89e-45c9-ae44-08dc1eaad0e0"])
    """One occurrence of the meeting. Not sent before 2022, and missing in some later events."""
    title: str | None = Field(None, examples=["Weekly sync"])
    """Title; null in events of 2021 and 2022."""
    room_name: str | None = Field(None, examples=["lcfvaa-absxch"])
    """Name of a room made by Dyte's v1 API; elsewhere absent or equal to `id`."""
    status: str | None = Field(None, examples=["LIVE"])
    """LIVE, even after the end: not to be used as a state."""
    created_at: Timestamp | None = Field(None, examples=["2026-06-03T10:00:00.000Z"])
    """When it was created; mostly equal to `started_at`."""
    started_at: Timestamp | None = Field(None, examples=["2026-06-03T10:00:00.000Z"])
    """When the session started."""
    ended_at: Timestamp | None = Field(None, examples=["2026-06-03T10:30:00.000Z", None])
    """When the session ended; null or absent while it runs."""
    organized_by: OrganizedBy | None = None
    """The organization that the meeting belongs to."""


class ParticipantInfo(Part):
    """One person's connection to a meeting."""

    peer_id: str | None = Field(None, examples=["e32fb785-ddd0-4b96-b577-879327c0082f"])
    """Id of the connection: each tab and each rejoin has its own. Pairs a joined with its left."""
    user_display_name: str | None = Field(None, examples=["Mary Sue"])
    """Name shown in the meeting. Personal data."""
    custom_participant_id: str | None = Field(None, examples=["user-123"])
    """The integrator's own id of the person; events of 2021 and 2022 have it as `client_specific_id` only."""
    client_specific_id: str | None = Field(None, examples=["user-123"], json_schema_extra={"deprecated": True})
    """Older name of `custom_participant_id`, with the same value; the only one in events of 2021 and 2022."""
    joined_at: Timestamp | None = Field(None, examples=["2026-06-03T10:05:00.000Z"])
    """When this connection joined."""
    left_at: Timestamp | None = Field(None, examples=["2026-06-03T10:25:00.000Z"])
    """When this connection left."""


class RecordingInfo(Part):
    """A recording, as far as its state tells. URLs are presigned: whoever has one has the file."""

    recording_id: str | None = Field(None, examples=["97cb480d-5840-4528-ace3-919b5e386c68"])
    """Id of the recording; preferred over `id`."""
    id: str | None = Field(None, examples=["97cb480d-5840-4528-ace3-919b5e386c68"])
    """The same id again; not sent before 2023."""
    status: OpenRecordingStatus | None = Field(None, examples=["UPLOADED"])
    """How far the recording is."""
    meeting_id: str | None = Field(None, examples=["50c8940e-1b97-402a-97d6-2708b7feca41"])
    """The meeting; where it differs from `meeting.id`, that one counts."""
    organization_id: str | None = Field(None, examples=["c94c437b-592a-4a39-b9e2-47ef1451e43b"])
    """The organization; where it differs from `meeting.organizedBy.id`, that one counts."""
    room_uuid: str | None = Field(None, alias="roomUUID", examples=["05e57591-d89e-45c9-ae44-08dc1eaad0e0"])
    """The session id."""
    invoked_time: Timestamp | None = Field(None, examples=["2021-12-06T09:12:55.310Z"])
    """When it was asked for; events of 2021 and 2022 only."""
    started_time: Timestamp | None = Field(None, examples=["2026-06-03T10:00:30.000Z", "2023-04-14 04:46:08.306221Z"])
    """When recording started."""
    stopped_time: Timestamp | None = Field(None, examples=["2026-06-03T10:30:00.000Z", "2023-04-14 04:46:55.420986Z"])
    """When recording stopped; from UPLOADING on."""
    output_file_name: str | None = Field(None, examples=["weekly-sync.mp4"])
    """Name of the file."""
    file_size: Number | None = Field(  # type: ignore[pydantic-alias]  # two spellings
        None,
        validation_alias=AliasChoices("fileSize", "filesize"),
        serialization_alias="fileSize",
        examples=["2044680", 2044680],
    )
    """Size of the file in bytes: a number from Dyte, a text from RealtimeKit; `filesize`, unit unclear, until 2022."""
    download_url: str | None = Field(None, repr=False, examples=["https://files.example/recording.mp4"])
    """Where to fetch the video. A secret."""
    audio_download_url: str | None = Field(None, repr=False, examples=["https://files.example/recording.mp3"])
    """Where to fetch the sound alone, if that was recorded. A secret."""
    download_url_expiry: Timestamp | None = Field(None, examples=["2026-06-10T10:30:00.000Z"])
    """When the URLs end: 7 days after the recording, 5 in events of 2021."""
    stop_reason: str | dict[str, Any] | None = Field(
        None, examples=["{'reason':'ALL_PEERS_LEFT','caller':{'type':'INTERNAL'}}"]
    )
    """Why it stopped, opaque: a text that looks like JSON and is none."""
    recording_duration: Number | None = Field(None, examples=[1800, 47.114])
    """Length in seconds."""
    err_message: str | None = Field(None, examples=["The recorder could not join."])
    """What went wrong; ERRORED only."""
