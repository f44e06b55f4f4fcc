from __future__ import annotations

import json
import re
from textwrap import dedent
from typing import Any

import pytest

from relay.model import Delivery
from relay.sinks.slack.cards import card, picture, readable
from relay.sinks.slack.cards.picture import columns
from tests.fakes.delivery import delivery

EXPIRY = "2023-04-21 04:46:55.608944Z"
LINK = "https://bucket.example/file?X-Amz-Signature=canary"

DYTE = {
    "id": "f489904b-c6d7-4a90-a9b1-cf941cb31f01",
    "sessionId": "5a0c5abd-97a3-4dac-b2d2-19ed3d7bb3c2",
    "title": "Algebra <2>",
    "roomName": "missxh-vxtest",
    "status": "LIVE",
    "createdAt": "2023-04-14T04:45:37.637Z",
    "startedAt": "2023-04-14T04:45:37.637Z",
    "endedAt": None,
    "organizedBy": {"id": "c94c437b-592a-4a39-b9e2-47ef1451e43c", "name": "Acme & Sons"},
}
KIT = {
    "id": "bbb8940e-1b97-402a-97d6-2708b7feca41",
    "sessionId": "05e57591-d89e-45c9-ae44-08dc1eaad0e0",
    "title": "Weekly sync",
    "startedAt": "2026-06-03T10:00:00.000Z",
    "organizedBy": {"id": "c94c437b-592a-4a39-b9e2-47ef1451e43b", "name": "Example organization"},
}


def shown(payload: Any, **more: Any) -> list[str]:
    """The card's picture without its frame: one text for each line, columns parted by one bar."""
    lines = picture(card(delivery(payload, **more))).splitlines()
    inner = [line.strip("│ ") for line in lines if line.startswith("│")]
    return [re.sub(r" {2,}", " | ", line) for line in inner]


def ended_meeting(meeting: dict[str, Any], at: str) -> dict[str, Any]:
    return meeting | {"endedAt": at}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        pytest.param(
            {"event": "meeting.started", "meeting": DYTE},
            [
                ":large_green_circle: Meeting started: Algebra <2>",
                "Organisation | Acme & Sons",
                "Started | 2023-04-14 04:45 UTC",
                "meeting.started · meeting f489904b · source dyte",
            ],
            id="started-dyte",
        ),
        pytest.param(
            {"event": "meeting.started", "meeting": KIT},
            [
                ":large_green_circle: Meeting started: Weekly sync",
                "Organisation | Example organization",
                "Started | 2026-06-03 10:00 UTC",
                "meeting.started · meeting bbb8940e · source dyte",
            ],
            id="started-kit",
        ),
        pytest.param(
            {
                "event": "meeting.ended",
                "meeting": ended_meeting(DYTE, "2023-04-14T05:50:37.637Z"),
                "reason": "HOST_ENDED_MEETING",
            },
            [
                ":checkered_flag: Meeting ended: Algebra <2>",
                "Reason | The host ended it",
                "Duration | 1 h 5 min",
                "Organisation | Acme & Sons",
                "Ended | 2023-04-14 05:50 UTC",
                "meeting.ended · meeting f489904b · source dyte",
            ],
            id="ended-dyte",
        ),
        pytest.param(
            {
                "event": "meeting.ended",
                "meeting": ended_meeting(KIT, "2026-06-03T10:00:42.000Z"),
                "reason": "ALL_PARTICIPANTS_LEFT",
            },
            [
                ":checkered_flag: Meeting ended: Weekly sync",
                "Reason | Everyone left",
                "Duration | 42 s",
                "Organisation | Example organization",
                "Ended | 2026-06-03 10:00 UTC",
                "meeting.ended · meeting bbb8940e · source dyte",
            ],
            id="ended-kit",
        ),
        pytest.param(
            {
                "event": "meeting.participantJoined",
                "meeting": DYTE,
                "participant": {
                    "peerId": "e32fb785-ddd0-4b96-b577-879327c0082f",
                    "userDisplayName": "Mary @here",
                    "clientSpecificId": "user-123",
                    "joinedAt": "2023-04-14T04:50:00.000Z",
                },
            },
            [
                ":wave: Mary @here joined",
                "Meeting | Algebra <2>",
                "Participant id | user-123",
                "Joined | 2023-04-14 04:50 UTC",
                "meeting.participantJoined · meeting f489904b · source dyte",
            ],
            id="joined-dyte",
        ),
        pytest.param(
            {
                "event": "meeting.participantJoined",
                "meeting": KIT,
                "participant": {"customParticipantId": "user-123", "joinedAt": "2026-06-03T10:05:00.000Z"},
            },
            [
                ":wave: user-123 joined",
                "Meeting | Weekly sync",
                "Joined | 2026-06-03 10:05 UTC",
                "meeting.participantJoined · meeting bbb8940e · source dyte",
            ],
            id="joined-kit-nameless",
        ),
        pytest.param(
            {
                "event": "meeting.participantLeft",
                "meeting": DYTE,
                "participant": {
                    "userDisplayName": "Mary Sue",
                    "customParticipantId": "user-123",
                    "clientSpecificId": "user-123",
                    "joinedAt": "2023-04-14T04:50:00.000Z",
                    "leftAt": "2023-04-14T05:02:00.000Z",
                },
            },
            [
                ":door: Mary Sue left",
                "Meeting | Algebra <2>",
                "Participant id | user-123",
                "Stayed | 12 min",
                "Left | 2023-04-14 05:02 UTC",
                "meeting.participantLeft · meeting f489904b · source dyte",
            ],
            id="left-dyte",
        ),
        pytest.param(
            {
                "event": "meeting.participantLeft",
                "meeting": ended_meeting(KIT, "2026-06-03T11:00:00.000Z"),
                "participant": {"userDisplayName": "Mary Sue", "leftAt": "2026-06-03T10:25:00.000Z"},
            },
            [
                ":door: Mary Sue left",
                "Meeting | Weekly sync",
                "Left | 2026-06-03 10:25 UTC",
                "meeting.participantLeft · meeting bbb8940e · source dyte",
            ],
            id="left-kit",
        ),
        pytest.param(
            {
                "event": "recording.statusUpdate",
                "meeting": DYTE,
                "recording": {
                    "status": "UPLOADED",
                    "fileSize": 2044680,
                    "meetingId": "f489904b-c6d7-4a90-a9b1-cf941cb31f05",
                    "downloadUrl": LINK,
                    "audioDownloadUrl": LINK,
                    "startedTime": "2023-04-14 04:46:08.306221Z",
                    "stoppedTime": "2023-04-14 04:46:55.420986Z",
                    "outputFileName": "missxh-vxtest_1681447566346.mp4",
                    "downloadUrlExpiry": EXPIRY,
                    "stopReason": "{'reason':'ALL_PEERS_LEFT','caller':{'type':'INTERNAL'}}",
                    "recordingDuration": 0,
                },
            },
            [
                ":white_check_mark: Recording is ready: Algebra <2>",
                "Duration | 47 s",
                "Size | 2.0 MB",
                "File | missxh-vxtest_1681447566346.mp4",
                "Stopped because | Everyone left",
                "Started | 2023-04-14 04:46 UTC",
                "Available until | 2023-04-21 04:46 UTC",
                "recording.statusUpdate · meeting f489904b · source dyte",
            ],
            id="recording-uploaded-dyte",
        ),
        pytest.param(
            {
                "event": "recording.statusUpdate",
                "meeting": KIT,
                "recording": {"status": "UPLOADED", "fileSize": "1900000000", "recordingDuration": 5400.5},
            },
            [
                ":white_check_mark: Recording is ready: Weekly sync",
                "Duration | 1 h 30 min",
                "Size | 1.9 GB",
                "recording.statusUpdate · meeting bbb8940e · source dyte",
            ],
            id="recording-uploaded-kit",
        ),
        pytest.param(
            {
                "event": "livestreaming.statusUpdate",
                "streamId": "d231d346-c422-43a6-a324-c0d65b79c8a7",
                "status": "LIVE",
            },
            [
                ":satellite_antenna: Livestream is live",
                "Stream | d231d346-c422-43a6-a324-c0d65b79c8a7",
                "livestreaming.statusUpdate · source dyte",
            ],
            id="livestream-dyte",
        ),
        pytest.param(
            {
                "event": "livestreaming.statusUpdate",
                "streamId": "d231d346",
                "status": "OFFLINE",
                "manualIngest": True,
                "playbackUrl": LINK,
                "ingestServer": "rtmps://live.example:443/live/",
                "streamKey": "canary",
                "meeting": KIT,
            },
            [
                ":black_circle: Livestream is offline: Weekly sync",
                "Organisation | Example organization",
                "Stream | d231d346",
                "Fed by | an external encoder",
                "livestreaming.statusUpdate · meeting bbb8940e · source dyte",
            ],
            id="livestream-kit",
        ),
        pytest.param(
            {
                "event": "meeting.chatSynced",
                "sessionId": "5a0c5abd",
                "meetingId": "f489904b-c6d7-4a90-a9b1-cf941cb31f01",
                "chatDownloadUrl": LINK,
                "chatDownloadUrlExpiry": EXPIRY,
                "organizedBy": {"id": "c94c437b", "name": "Acme"},
            },
            [
                ":speech_balloon: Chat is ready",
                "Organisation | Acme",
                "Available until | 2023-04-21 04:46 UTC",
                "meeting.chatSynced · meeting f489904b · source dyte",
            ],
            id="chat-dyte",
        ),
        pytest.param(
            {
                "event": "meeting.chatSynced",
                "meetingId": "bbb8940e-1b97-402a-97d6-2708b7feca41",
                "title": "Weekly sync",
                "startedAt": "2026-06-03T10:00:00.000Z",
                "endedAt": "2026-06-05T13:00:00.000Z",
                "chatDownloadUrl": LINK,
            },
            [
                ":speech_balloon: Chat is ready: Weekly sync",
                "Duration | 2 d 3 h",
                "meeting.chatSynced · meeting bbb8940e · source dyte",
            ],
            id="chat-kit",
        ),
        pytest.param(
            {
                "event": "meeting.transcript",
                "meeting": DYTE,
                "transcriptDownloadUrl": LINK,
                "transcriptDownloadExpiry": EXPIRY,
            },
            [
                ":page_facing_up: Transcript is ready: Algebra <2>",
                "Organisation | Acme & Sons",
                "Available until | 2023-04-21 04:46 UTC",
                "meeting.transcript · meeting f489904b · source dyte",
            ],
            id="transcript-dyte-first-days",
        ),
        pytest.param(
            {
                "event": "meeting.transcript",
                "meeting": ended_meeting(KIT, "2026-06-03T10:30:00.000Z"),
                "transcriptDownloadUrl": LINK,
                "transcriptDownloadUrlExpiry": "2026-06-10T10:30:00.000Z",
            },
            [
                ":page_facing_up: Transcript is ready: Weekly sync",
                "Organisation | Example organization",
                "Duration | 30 min",
                "Available until | 2026-06-10 10:30 UTC",
                "meeting.transcript · meeting bbb8940e · source dyte",
            ],
            id="transcript-kit",
        ),
        pytest.param(
            {
                "event": "meeting.summary",
                "meeting": DYTE,
                "summaryDownloadUrl": LINK,
                "summaryDownloadUrlExpiry": EXPIRY,
            },
            [
                ":sparkles: Summary is ready: Algebra <2>",
                "Organisation | Acme & Sons",
                "Available until | 2023-04-21 04:46 UTC",
                "meeting.summary · meeting f489904b · source dyte",
            ],
            id="summary-dyte",
        ),
        pytest.param(
            {"event": "meeting.summary", "meeting": {"id": "bbb8940e", "organizedBy": "A text, as in 2021"}},
            [
                ":sparkles: Summary is ready",
                "Organisation | A text, as in 2021",
                "meeting.summary · meeting bbb8940e · source dyte",
            ],
            id="summary-kit-minimal",
        ),
    ],
)
def test_each_event_type_has_a_card(payload: dict[str, Any], expected: list[str]) -> None:
    assert shown(payload) == expected


@pytest.mark.parametrize(
    ("status", "headline"),
    [
        ("INVOKED", ":hourglass_flowing_sand: Recording is starting"),
        ("RECORDING", ":red_circle: Recording in progress"),
        ("PAUSED", ":double_vertical_bar: Recording paused"),
        ("UPLOADING", ":arrow_up: Recording is being uploaded"),
        ("ERRORED", ":x: Recording failed"),
        ("HALF_DONE", ":grey_question: Recording: Half done"),
        (None, ":grey_question: Recording: state unknown"),
        (["LIVE"], ":grey_question: Recording: state unknown"),
    ],
)
def test_a_recording_says_its_state(status: Any, headline: str) -> None:
    assert shown({"event": "recording.statusUpdate", "recording": {"status": status}})[0] == headline


def test_a_failed_recording_says_why_without_the_link() -> None:
    recording = {"status": "ERRORED", "errMessage": f"upload to {LINK} failed"}

    assert "Problem | upload to (link) failed" in shown({"event": "recording.statusUpdate", "recording": recording})


def test_an_unknown_event_has_a_plain_card() -> None:
    body = b'{"event":"poll.created","poll":{"secret":"canary"}}'

    assert shown(None, body=body) == [
        ":grey_question: Event: poll.created",
        f"Size | {len(body)} B",
        "Received | 2026-11-23 11:30 UTC",
        "Event id | 01931b2e-7f00-7000-8000-000000000001",
        "poll.created · source dyte",
    ]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"\xff{", "It is not JSON"),
        (b"[1]", "It is not a JSON object"),
        (b'{"a":' * 100 + b"1" + b"}" * 100, "It is nested too deeply"),
        (b"", "It is not JSON"),
    ],
)
def test_an_unreadable_event_has_a_plain_card(body: bytes, problem: str) -> None:
    lines = shown(None, body=body)

    assert lines[:2] == [":warning: An event that cannot be read", f"Problem | {problem}"]


def test_a_replayed_delivery_is_marked() -> None:
    message = card(delivery({"event": "meeting.started"}, replay=2))

    assert message["blocks"][-1]["elements"][0]["text"] == ":repeat: replayed"
    assert "replayed" not in json.dumps(card(delivery({"event": "meeting.started"})))


def test_a_card_shows_what_is_to_be_sent_and_not_what_redaction_removed() -> None:
    whole = delivery({"event": "meeting.started", "meeting": DYTE})
    redacted = Delivery(
        id=1, event=whole.event, route="r", sink="s", attempt=1, tries=1, body=b'{"event":"meeting.started"}'
    )

    assert "Algebra" not in json.dumps(card(redacted))
    assert DYTE["id"][:8] not in json.dumps(card(redacted))  # type: ignore[index]


def test_notifications_get_a_plain_sentence() -> None:
    message = card(delivery({"event": "meeting.ended", "meeting": DYTE, "reason": "HOST_ENDED_MEETING"}))

    assert message["text"] == "Meeting ended: Algebra &lt;2&gt; · The host ended it · Acme &amp; Sons"


def test_names_are_plain_text_and_dates_are_slacks() -> None:
    fields = card(delivery({"event": "meeting.started", "meeting": DYTE}))["blocks"][1]["fields"]

    assert fields == [
        {"type": "mrkdwn", "text": "*Organisation*", "verbatim": True},
        {"type": "plain_text", "text": "Acme &amp; Sons", "emoji": False},
        {"type": "mrkdwn", "text": "*Started*", "verbatim": True},
        {
            "type": "mrkdwn",
            "text": "<!date^1681447537^{date_short_pretty} {time}|2023-04-14 04:45 UTC>",
            "verbatim": True,
        },
    ]


def test_a_picture_frames_the_message() -> None:
    message = card(delivery({"event": "meeting.started", "meeting": KIT}))

    assert picture(message) == dedent("""\
        ╭──────────────────────────────────────────────────╮
        │ :large_green_circle: Meeting started: Weekly sync │
        ├──────────────────────────────────────────────────┤
        """).replace("──╮", "───╮").replace("──┤", "───┤") + dedent("""\
        │ Organisation      Example organization            │
        │ Started           2026-06-03 10:00 UTC            │
        ├───────────────────────────────────────────────────┤
        │ meeting.started · meeting bbb8940e · source dyte  │
        ╰───────────────────────────────────────────────────╯""")


def test_a_picture_of_plain_text_and_of_wide_characters() -> None:
    assert "│ two words" in picture({"text": "two words"})
    assert "│ ready: link" in picture({"text": "ready: <https://x.example|link>"})
    assert len({columns(line) for line in picture({"text": "会議 👋 é"}).splitlines()}) == 1


@pytest.mark.parametrize(
    ("text", "width"), [("é", 1), ("e\u0301", 1), ("会議", 4), ("👋", 2), ("❤\ufe0f", 2), ("👋\ufe0f", 2)]
)
def test_how_wide_a_terminal_shows_a_text(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize("text", ["会議 " * 40, "会" * 100, "a" * 200, "word " * 40, "👋 " * 50])
def test_a_picture_is_never_wider_than_its_frame_may_be(text: str) -> None:
    lines = picture(
        {"blocks": [{"type": "section", "text": {"text": text}, "fields": [{"text": "F"}, {"text": text}]}]}
    )
    assert {columns(line) for line in lines.splitlines()} == {76} or len(lines.splitlines()[0]) < 76
    assert max(columns(line) for line in lines.splitlines()) <= 76
    assert "".join(lines.split()).count(text.strip()[0]) == 2 * text.count(text[0])


def test_sections_stand_together_and_are_read_line_by_line() -> None:
    message = {
        "blocks": [
            {"type": "header", "text": {"text": "Head"}},
            {"type": "section", "fields": [{"text": "*A*"}, {"text": "1"}]},
            {"type": "section", "fields": [{"text": "*B*"}, {"text": "2"}]},
            {"type": "context", "elements": [{"text": "small"}]},
        ]
    }
    assert picture(message).count("├") == 2
    assert readable(message) == "Head\nA  1\nB  2\nsmall"
    assert readable({"text": "a <https://x.example|link> " + "long " * 40}) == "a link " + ("long " * 40).strip()
