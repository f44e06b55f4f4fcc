"""One example of each event, as each provider writes it: the same bytes on every day.

A bare event type names its most telling example: the recording that is there, the livestream that runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import TypeAlias

from relay.payload import Payload
from relay.simulator.meeting import Meeting, Recording, Stream, Visit
from relay.simulator.scenarios import ORGANIZATION, START
from relay.simulator.shapes import SHAPES, Document, Provider, Shape

_MEETING = Meeting(
    id="50c8940e-1b97-402a-97d6-2708b7feca41",
    session_id="05e57591-d89e-45c9-ae44-08dc1eaad0e0",
    title="Weekly sync",
    room_name=None,
    started_at=START,
    organization_id=ORGANIZATION,
    organization_name="Example organization",
)
_ENDED = START + timedelta(minutes=30)
_VISIT = Visit(
    peer_id="e32fb785-ddd0-4b96-b577-879327c0082f",
    name="Mary Sue",
    custom_id="user-123",
    joined_at=START + timedelta(minutes=5),
    left_at=START + timedelta(minutes=25),
)
_RECORDING = Recording(
    id="97cb480d-5840-4528-ace3-919b5e386c68",
    invoked_at=START + timedelta(seconds=20),
    started_at=START + timedelta(seconds=30),
    stopped_at=_ENDED,
    file_name="weekly-sync.mp4",
    size=2_044_680,
    stop_reason="{'reason':'ALL_PEERS_LEFT','caller':{'type':'INTERNAL'}}",
)
_STREAM = Stream(id="d231d346-c422-43a6-a324-c0d65b79c8a7", key="example-stream-key")

Write: TypeAlias = Callable[[Shape], Payload]


def _recording(status: str) -> Write:
    return lambda shape: shape.recording(_MEETING, _RECORDING, status)


def _livestream(status: str) -> Write:
    return lambda shape: shape.livestream(_MEETING, _STREAM, status)


def _document(document: Document) -> Write:
    return lambda shape: shape.document(_MEETING, document, ended_at=_ENDED, at=_ENDED + timedelta(minutes=1))


_WRITE: Mapping[str, Write] = MappingProxyType(
    {
        "meeting.started": lambda shape: shape.started(_MEETING),
        "meeting.ended": lambda shape: shape.ended(_MEETING, at=_ENDED, reason="ALL_PARTICIPANTS_LEFT"),
        "meeting.participantJoined": lambda shape: shape.joined(_MEETING, _VISIT),
        "meeting.participantLeft": lambda shape: shape.left(_MEETING, _VISIT),
        "meeting.chatSynced": _document("chat"),
        "meeting.transcript": _document("transcript"),
        "meeting.summary": _document("summary"),
        "recording.statusUpdate.invoked": _recording("INVOKED"),
        "recording.statusUpdate.recording": _recording("RECORDING"),
        "recording.statusUpdate.uploading": _recording("UPLOADING"),
        "recording.statusUpdate.uploaded": _recording("UPLOADED"),
        "livestreaming.statusUpdate.live": _livestream("LIVE"),
        "livestreaming.statusUpdate.idle": _livestream("IDLE"),
        "livestreaming.statusUpdate.offline": _livestream("OFFLINE"),
    }
)
_TELLING = {
    "recording.statusUpdate": "recording.statusUpdate.uploaded",
    "livestreaming.statusUpdate": "livestreaming.statusUpdate.live",
}

EXAMPLES = tuple(_WRITE)
"""Names of all examples, in the order in which a meeting brings them about."""


def example(name: str, *, provider: Provider = "dyte") -> Payload:
    """The payload of an example: one of `EXAMPLES`, or an event type for its most telling one.

    Raises:
        KeyError: there is no such example.
    """
    return _WRITE[_TELLING.get(name, name)](SHAPES[provider])
