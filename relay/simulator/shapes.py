"""How each provider writes a meeting's events: same nine events, different fields.

Facts: https://docs.dyte.io/guides/capabilities/webhooks/webhook-events (its last form) and
https://developers.cloudflare.com/realtime/realtimekit/webhooks/. What is undocumented is left out.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from relay.payload import Payload
from relay.simulator.meeting import Meeting, Recording, Stream, Visit

Provider: TypeAlias = Literal["dyte", "realtimekit"]
Document: TypeAlias = Literal["chat", "transcript", "summary"]

KEPT = timedelta(days=7)
"""How long the URLs of both providers live."""


class Shape(ABC):
    """What a provider sends, event by event."""

    def started(self, meeting: Meeting) -> Payload:
        """The first participant joined."""
        return {"event": "meeting.started", "meeting": self.about(meeting)}

    def ended(self, meeting: Meeting, *, at: datetime, reason: str) -> Payload:
        """All left, or the host ended it."""
        return {"event": "meeting.ended", "meeting": self.about(meeting, endedAt=iso(at)), "reason": reason}

    def joined(self, meeting: Meeting, visit: Visit) -> Payload:
        """A participant joined."""
        who = self.participant(visit)
        return {"event": "meeting.participantJoined", "meeting": self.about(meeting), "participant": who}

    def left(self, meeting: Meeting, visit: Visit) -> Payload:
        """A participant left."""
        who = self.participant(visit) | {"leftAt": iso(visit.left_at)}
        return {"event": "meeting.participantLeft", "meeting": self.about(meeting), "participant": who}

    def about(self, meeting: Meeting, **more: str | None) -> Payload:
        """The meeting that an event is about."""
        return {
            "id": meeting.id,
            "sessionId": meeting.session_id,
            "title": meeting.title,
            "status": "LIVE",  # even after the end
            "createdAt": iso(meeting.started_at),
            "startedAt": iso(meeting.started_at),
            **more,
            "organizedBy": _organization(meeting),
        }

    @abstractmethod
    def participant(self, visit: Visit) -> Payload:
        """Who joined or left."""

    @abstractmethod
    def recording(self, meeting: Meeting, recording: Recording, status: str) -> Payload:
        """A recording changed its state."""

    @abstractmethod
    def livestream(self, meeting: Meeting, stream: Stream, status: str) -> Payload:
        """A livestream changed its state."""

    @abstractmethod
    def document(self, meeting: Meeting, document: Document, *, ended_at: datetime, at: datetime) -> Payload:
        """The chat, transcript or summary of a meeting became available `at`."""


class DyteShape(Shape):
    """Dyte's shapes of 2023 to 2025."""

    def about(self, meeting: Meeting, **more: str | None) -> Payload:
        room = {} if meeting.room_name is None else {"roomName": meeting.room_name}
        return super().about(meeting, **room, **more)

    def recording(self, meeting: Meeting, recording: Recording, status: str) -> Payload:
        about = self.about(meeting, endedAt=None)
        if status == "UPLOADING":  # the one state in which Dyte names neither the session nor the room
            del about["sessionId"]
        return {
            "event": "recording.statusUpdate",
            "recording": self._recording(meeting, recording, status),
            "meeting": about,
        }

    def livestream(self, meeting: Meeting, stream: Stream, status: str) -> Payload:  # noqa: ARG002 - Dyte tells no more
        return {"event": "livestreaming.statusUpdate", "streamId": stream.id, "status": status}

    def document(self, meeting: Meeting, document: Document, *, ended_at: datetime, at: datetime) -> Payload:
        url, expiry = _url(meeting, _DOCUMENTS[document]), spaced(at + KEPT)
        if document == "chat":
            return {
                "event": "meeting.chatSynced",
                "sessionId": meeting.session_id,
                "meetingId": meeting.id,
                "chatDownloadUrl": url,
                "chatDownloadUrlExpiry": expiry,
                "organizedBy": _organization(meeting),
            }
        return _document(document, self.about(meeting, endedAt=iso(ended_at)), url, expiry)

    def participant(self, visit: Visit) -> Payload:
        return {
            "peerId": visit.peer_id,
            "userDisplayName": visit.name,
            "clientSpecificId": visit.custom_id,
            "customParticipantId": visit.custom_id,
            "joinedAt": iso(visit.joined_at),
        }

    def _recording(self, meeting: Meeting, recording: Recording, status: str) -> Payload:
        fields: Payload = {"id": recording.id, "recordingId": recording.id, "status": status}
        if status != "INVOKED":
            fields["startedTime"] = spaced(recording.started_at)
        if status in _STOPPED:
            fields |= {"stoppedTime": spaced(recording.stopped_at), "fileSize": recording.size}
        if status != "UPLOADING":
            fields |= _whereabouts(meeting, recording)
        if status == "UPLOADED":
            fields |= _file(meeting, recording)
            fields |= {"downloadUrlExpiry": spaced(recording.stopped_at + KEPT), "stopReason": recording.stop_reason}
        return fields


class RealtimeKitShape(Shape):
    """RealtimeKit's current shapes."""

    def recording(self, meeting: Meeting, recording: Recording, status: str) -> Payload:
        fields: Payload = {"id": recording.id, "recordingId": recording.id, "status": status}
        if status == "UPLOADED":
            fields |= _file(meeting, recording) | {"downloadUrlExpiry": iso(recording.stopped_at + KEPT)}
        if status != "INVOKED":
            fields["startedTime"] = iso(recording.started_at)
        if status in _STOPPED:
            fields |= {"stoppedTime": iso(recording.stopped_at), "fileSize": str(recording.size)}
        fields |= _whereabouts(meeting, recording)
        return {"event": "recording.statusUpdate", "recording": fields, "meeting": self.about(meeting)}

    def livestream(self, meeting: Meeting, stream: Stream, status: str) -> Payload:
        about = self.about(meeting)
        del about["sessionId"], about["startedAt"]
        return {
            "event": "livestreaming.statusUpdate",
            "streamId": stream.id,
            "status": status,
            "manualIngest": False,
            "playbackUrl": f"https://live.example/{stream.id}/index.m3u8",
            "ingestServer": "rtmps://live.example/live",
            "streamKey": stream.key,
            "meeting": about,
        }

    def document(self, meeting: Meeting, document: Document, *, ended_at: datetime, at: datetime) -> Payload:
        url, expiry = _url(meeting, _DOCUMENTS[document]), iso(at + KEPT)
        if document == "chat":
            return {
                "event": "meeting.chatSynced",
                "sessionId": meeting.session_id,
                "meetingId": meeting.id,
                "title": meeting.title,
                "chatDownloadUrl": url,
                "chatDownloadUrlExpiry": expiry,
                "createdAt": iso(meeting.started_at),
                "startedAt": iso(meeting.started_at),
                "endedAt": iso(ended_at),
                "organizedBy": _organization(meeting),
            }
        about = self.about(meeting, endedAt=iso(ended_at))
        if document == "summary":  # the one event in which RealtimeKit says next to nothing of the meeting
            about = {key: about[key] for key in ("id", "sessionId", "organizedBy")}
        return _document(document, about, url, expiry)

    def participant(self, visit: Visit) -> Payload:
        return {
            "peerId": visit.peer_id,
            "userDisplayName": visit.name,
            "customParticipantId": visit.custom_id,
            "joinedAt": iso(visit.joined_at),
        }


SHAPES: dict[Provider, Shape] = {"dyte": DyteShape(), "realtimekit": RealtimeKitShape()}

_DOCUMENTS: dict[Document, str] = {"chat": "chat.csv", "transcript": "transcript.csv", "summary": "summary.txt"}
_STOPPED = frozenset({"UPLOADING", "UPLOADED"})


def iso(time: datetime) -> str:
    """`2026-06-03T10:00:00.000Z`, as JavaScript writes a Date."""
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def spaced(time: datetime) -> str:
    """`2026-06-03 10:00:00.000000Z`, as Dyte's recorder and file store write a time."""
    return time.isoformat(sep=" ", timespec="microseconds").replace("+00:00", "Z")


def _organization(meeting: Meeting) -> Payload:
    return {"id": meeting.organization_id, "name": meeting.organization_name}


def _whereabouts(meeting: Meeting, recording: Recording) -> Payload:
    return {
        "roomUUID": meeting.session_id,
        "meetingId": meeting.id,
        "organizationId": meeting.organization_id,
        "outputFileName": recording.file_name,
    }


def _file(meeting: Meeting, recording: Recording) -> Payload:
    seconds = (recording.stopped_at - recording.started_at) // timedelta(milliseconds=1) / 1000
    return {
        "downloadUrl": _url(meeting, recording.file_name),
        "audioDownloadUrl": None,  # none was asked for
        "recordingDuration": int(seconds) if seconds.is_integer() else seconds,  # JavaScript writes 47, not 47.0
    }


def _document(document: Document, about: Payload, url: str, expiry: str) -> Payload:
    return {
        "event": f"meeting.{document}",
        "meeting": about,
        f"{document}DownloadUrl": url,
        f"{document}DownloadUrlExpiry": expiry,
    }


def _url(meeting: Meeting, file_name: str) -> str:
    """A URL that looks presigned and leads nowhere."""
    path = f"{meeting.organization_id}/{meeting.session_id}/{file_name}"
    signature = hashlib.sha256(path.encode()).hexdigest()
    return f"https://files.example/{path}?X-Amz-Expires=604800&X-Amz-Signature={signature}"
