"""The event catalogue: numbers, times and words that drift, ids in odd places, secrets, and what is no event."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from relay.events import (
    CATALOGUE,
    LivestreamingStatusUpdate,
    MeetingEnded,
    MeetingParticipantJoined,
    MeetingParticipantLeft,
    MeetingStarted,
    RecordingStatus,
    RecordingStatusUpdate,
    UnknownEvent,
    parse_event,
)

ORGANIZATION = "0b7f6f3a-3c0e-4d27-9a51-6a4f0f0c2101"
SECRET = "s3cret"


def at(text: str) -> datetime:
    """The UTC time that `YYYY-MM-DD HH:MM:SS[.ffffff]` names."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def recording(**fields: object) -> RecordingStatusUpdate:
    event = parse_event({"event": "recording.statusUpdate", "recording": fields})
    assert isinstance(event, RecordingStatusUpdate)
    return event


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        (2044680, 2044680),
        (2044680.0, 2044680),
        ("2044680", 2044680),
        ("0", 0),
        ("123.45", 123.45),
        ("1e3", 1000),
        (123.45, 123.45),
        (10**20, 10**20),
        (2.0**60, 2.0**60),
        (None, None),
    ],
)
def test_file_size_reads(raw: object, size: float | None) -> None:
    event = recording(fileSize=raw)
    assert event.recording is not None
    assert event.recording.file_size == size
    assert type(event.recording.file_size) is type(size)
    assert event.unreadable == {}


@pytest.mark.parametrize("raw", ["abc", "", "NaN", "١٢", "1_000", "9" * 31, True, [], {}, float("inf"), float("nan")])
def test_file_size_that_cannot_be_read_is_set_aside(raw: object) -> None:
    event = recording(fileSize=raw, status="UPLOADED")
    assert event.recording is not None
    assert event.recording.file_size is None
    assert event.recording.status is RecordingStatus.UPLOADED
    assert event.unreadable == {"recording.fileSize": raw}


def test_both_spellings_are_kept() -> None:
    event = recording(fileSize=7, filesize=8)
    assert event.recording is not None
    assert (event.recording.file_size, event.recording.model_extra) == (7, {"filesize": 8})


def test_a_readable_spelling_stands_in_for_an_unreadable_one() -> None:
    event = recording(fileSize="abc", filesize=8)
    assert event.recording is not None
    assert (event.recording.file_size, event.unreadable) == (8, {"recording.fileSize": "abc"})


@pytest.mark.parametrize(
    ("raw", "time"),
    [
        ("2026-06-03T10:00:00.000Z", at("2026-06-03 10:00:00")),
        ("2023-04-14 04:46:08.306221Z", at("2023-04-14 04:46:08.306221")),
        ("2026-06-03T10:00:00", at("2026-06-03 10:00:00")),
        ("2026-06-03T10:00:00+02:00", datetime(2026, 6, 3, 10, tzinfo=timezone(timedelta(hours=2)))),
        (None, None),
    ],
)
def test_time_reads_and_is_aware(raw: object, time: datetime | None) -> None:
    event = recording(startedTime=raw)
    assert event.recording is not None
    assert event.recording.started_time == time
    assert time is None or (event.recording.started_time and event.recording.started_time.tzinfo)
    assert event.unreadable == {}


@pytest.mark.parametrize("raw", ["", "yesterday", "2026-13-01T00:00:00Z", 1780480800, {}, True])
def test_time_that_cannot_be_read_is_set_aside(raw: object) -> None:
    event = recording(startedTime=raw)
    assert event.recording is not None
    assert event.recording.started_time is None
    assert event.unreadable == {"recording.startedTime": raw}


def test_unknown_words_are_kept() -> None:
    event = recording(status="COMPLETED")
    assert event.recording is not None
    assert event.recording.status == "COMPLETED"
    ended = parse_event({"event": "meeting.ended", "reason": "POWER_CUT"})
    stream = parse_event({"event": "livestreaming.statusUpdate", "status": "ERRORED"})
    assert isinstance(ended, MeetingEnded)
    assert isinstance(stream, LivestreamingStatusUpdate)
    assert (ended.reason, stream.status) == ("POWER_CUT", "ERRORED")


def test_a_part_of_another_kind_is_set_aside() -> None:
    event = parse_event({"event": "meeting.started", "meeting": "2a6f1c58", "room": 7})
    assert (event.meeting_id, event.session_id, event.organization_id) == (None, None, None)
    assert event.unreadable == {"meeting": "2a6f1c58"}
    assert event.model_extra == {"room": 7}


def test_organization_given_as_an_id() -> None:
    event = parse_event({"event": "meeting.started", "meeting": {"organizedBy": ORGANIZATION}})
    assert event.organization_id == ORGANIZATION


def test_recording_ids_fall_back_to_the_recording() -> None:
    event = recording(id="r", meetingId="m", roomUUID="s", organizationId="o")
    assert (event.recording_id, event.meeting_id, event.session_id, event.organization_id) == ("r", "m", "s", "o")


def test_events_without_their_parts_have_no_ids() -> None:
    joined = parse_event({"event": "meeting.participantJoined"})
    assert isinstance(joined, MeetingParticipantJoined)
    assert (joined.participant_id, joined.peer_id) == (None, None)
    assert recording().recording_id is None
    bare = parse_event({"event": "recording.statusUpdate"})
    assert isinstance(bare, RecordingStatusUpdate)
    assert (bare.recording_id, bare.meeting_id, bare.session_id, bare.organization_id) == (None,) * 4
    assert parse_event({"event": "meeting.chatSynced"}).organization_id is None


def test_a_number_as_id_is_a_text() -> None:
    event = parse_event({"event": "meeting.participantLeft", "participant": {"customParticipantId": 17}})
    assert isinstance(event, MeetingParticipantLeft)
    assert event.participant_id == "17"


def test_unknown_event_keeps_everything_and_finds_ids() -> None:
    body = {
        "event": "poll.closed",
        "meeting": {"id": "m", "sessionId": "s", "organizedBy": {"id": "o"}},
        "votes": [1, 2],
    }
    event = parse_event(json.dumps(body))
    assert isinstance(event, UnknownEvent)
    assert (event.event, event.meeting_id, event.session_id, event.organization_id) == ("poll.closed", "m", "s", "o")
    assert event.model_extra == {"meeting": body["meeting"], "votes": [1, 2]}


def test_unknown_fields_never_shadow_known_ones() -> None:
    raw = {"event": "meeting.started", "meeting_id": 1, "unreadable": 2, "meeting": {"id": "m", "session_id": 3}}
    event = parse_event(raw)
    assert (event.meeting_id, event.session_id, event.unreadable) == ("m", None, {})
    assert isinstance(event, MeetingStarted)
    assert event.model_extra == {"meeting_id": 1, "unreadable": 2}
    assert event.meeting is not None
    assert event.meeting.model_extra == {"session_id": 3}


def test_keys_with_half_an_emoji_are_set_aside() -> None:
    event = parse_event(json.loads(r'{"event": "meeting.started", "\ud83d": 1, "meeting": {"id": "m", "\ud83d": 2}}'))
    assert event.meeting_id == "m"
    assert event.unreadable == {"\ud83d": 1, "meeting.\ud83d": 2}


@pytest.mark.parametrize(
    "raw",
    [
        {"event": "livestreaming.statusUpdate", "streamKey": SECRET, "playbackUrl": SECRET},
        {"event": "livestreaming.statusUpdate", "streamKey": [SECRET], "stream_key": SECRET, "newKey": SECRET},
        {"event": "recording.statusUpdate", "recording": {"downloadUrl": SECRET, "audioDownloadUrl": SECRET}},
        {"event": "recording.statusUpdate", "recording": [SECRET]},
        {"event": "meeting.chatSynced", "chatDownloadUrl": SECRET},
        {"event": "meeting.transcript", "transcriptDownloadUrl": SECRET},
        {"event": "meeting.summary", "summaryDownloadUrl": SECRET},
        {"event": "stream.keyRotated", "streamKey": SECRET},
    ],
)
def test_repr_shows_no_secret(raw: dict[str, object]) -> None:
    event = parse_event(raw)
    assert SECRET not in repr(event)
    assert SECRET not in str(event)
    assert SECRET in event.model_dump_json() + str(event.unreadable)


def test_repr_shows_what_is_known() -> None:
    event = parse_event({"event": "meeting.ended", "meeting": {"id": "m"}, "reason": None})
    assert repr(event) == "MeetingEnded(event='meeting.ended', meeting=MeetingInfo(id='m'))"


def test_events_are_values() -> None:
    event = parse_event({"event": "meeting.started"})
    with pytest.raises(ValidationError, match="frozen"):
        event.event = "meeting.ended"  # type: ignore[misc]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"meeting.started"',
        b"\xff",
        b"{}",
        b'{"event":null}',
        b'{"event":""}',
        b'{"event":5}',
        b'{"event":["meeting.started"]}',
        b'{"event":"x","a":' + b"[" * 100 + b"]" * 100 + b"}",
        "\ud83d",
        {},
        {"event": {}},
    ],
)
def test_what_is_no_event_is_refused(body: bytes | str | Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match="not an event"):
        parse_event(body)


def test_a_model_refuses_the_name_of_another_event() -> None:
    with pytest.raises(ValidationError) as caught:
        MeetingStarted.model_validate({"event": "meeting.ended", "streamKey": SECRET})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", CATALOGUE)
def test_schema_describes_every_field(name: str) -> None:
    schema = CATALOGUE[name].model_json_schema()
    assert schema["properties"]["event"]["const"] == name
    assert "Fires when" in schema["description"]
    for part in [schema, *(part for part in schema.get("$defs", {}).values() if part["type"] == "object")]:
        assert part["additionalProperties"] is True
        assert all(field.get("description") for field in part["properties"].values()), part["title"]
