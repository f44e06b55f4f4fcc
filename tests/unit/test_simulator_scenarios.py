"""One simulated meeting, of each scenario: what happens, and in which order."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest

from relay.events import (
    CATALOGUE,
    LivestreamingStatusUpdate,
    MeetingParticipantJoined,
    MeetingParticipantLeft,
    RecordingStatusUpdate,
    parse_event,
)
from relay.simulator import SCENARIOS, START, Meeting, Moment, Provider, play
from relay.simulator.meeting import Recording
from relay.simulator.shapes import SHAPES

PROVIDERS: list[Provider] = ["dyte", "realtimekit"]


def steps(moments: Sequence[Moment]) -> list[str]:
    """Each event with what it is about: `recording.statusUpdate UPLOADED 97cb…`."""
    found = []
    for moment in moments:
        match event := parse_event(moment.payload):
            case RecordingStatusUpdate(recording=recording) if recording:
                found.append(f"recording {event.recording_id} {recording.status}")
            case LivestreamingStatusUpdate():
                found.append(f"stream {event.status}")
            case MeetingParticipantJoined() | MeetingParticipantLeft():
                found.append(f"{event.event.removeprefix('meeting.participant')} {event.peer_id}")
            case _:
                found.append(event.event)
    return found


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("seed", range(5))
def test_order_is_natural(name: str, provider: Provider, seed: int) -> None:
    moments = play(name, seed=seed, provider=provider)
    order = steps(moments)
    assert all(before.at <= after.at for before, after in pairwise(moments))
    assert order[0] == "meeting.started"
    assert order[1].startswith("Joined")
    peers = [step.split()[1] for step in order if step.startswith("Joined")]
    assert len(peers) == len(set(peers)) >= 1
    assert sorted(peers) == sorted(step.split()[1] for step in order if step.startswith("Left"))
    ended = order.index("meeting.ended")
    for peer in peers:
        assert order.index(f"Joined {peer}") < order.index(f"Left {peer}") < ended
    for document in ("meeting.chatSynced", "meeting.transcript", "meeting.summary"):
        assert (document in order) == (name == "meeting")
        assert document not in order[:ended]
    assert_recordings_in_order([step.split()[1:] for step in order if step.startswith("recording")])


def assert_recordings_in_order(steps: Sequence[Sequence[str]]) -> None:
    states: dict[str, list[str]] = defaultdict(list)
    for recording, status in steps:
        states[recording].append(status)
    for found in states.values():
        assert found in (
            ["INVOKED", "RECORDING", "UPLOADING", "UPLOADED"],
            ["INVOKED", "RECORDING", "ERRORED"],
        )


def test_whole_meeting_holds_all_nine_events() -> None:
    assert {moment.event for moment in play("meeting")} == set(CATALOGUE)


def test_some_come_back_over_a_new_connection() -> None:
    peers: dict[str | None, set[str | None]] = defaultdict(set)
    for seed in range(10):
        for moment in play("meeting", seed=seed):
            if isinstance(event := parse_event(moment.payload), MeetingParticipantJoined):
                peers[event.participant_id].add(event.peer_id)
    assert any(len(of_one) > 1 for of_one in peers.values())
    assert any(len(of_one) == 1 for of_one in peers.values())


def test_recordings_sometimes_fail() -> None:
    failed = sum("ERRORED" in " ".join(steps(play("recording", seed=seed))) for seed in range(40))
    assert 0 < failed < 40


def test_livestream_repeats_a_body_honestly() -> None:
    states = [step for step in steps(play("livestream")) if step.startswith("stream")]
    assert states == ["stream LIVE", "stream IDLE", "stream LIVE", "stream OFFLINE"]
    bodies = [moment.payload for moment in play("livestream") if moment.event == "livestreaming.statusUpdate"]
    assert bodies[0] == bodies[2]


@pytest.mark.parametrize(
    ("length", "written"), [(timedelta(minutes=30), "1800"), (timedelta(seconds=47.114), "47.114")]
)
def test_duration_is_written_as_node_does(length: timedelta, written: str) -> None:
    meeting = Meeting(
        id="m",
        session_id="s",
        title="t",
        room_name=None,
        started_at=START,
        organization_id="o",
        organization_name="n",
    )
    recording = Recording(
        id="r",
        invoked_at=START,
        started_at=START,
        stopped_at=START + length,
        file_name="f",
        size=1,
        stop_reason="",
    )
    for shape in SHAPES.values():
        payload = shape.recording(meeting, recording, "UPLOADED")
        assert json.dumps(payload["recording"]["recordingDuration"]) == written


@pytest.mark.parametrize("provider", PROVIDERS)
def test_session_is_named_where_the_documents_say(provider: Provider) -> None:
    for moment in play("meeting", provider=provider):
        event = parse_event(moment.payload)
        uploading = moment.payload.get("recording", {}).get("status") == "UPLOADING"
        unnamed = isinstance(event, LivestreamingStatusUpdate) or (provider == "dyte" and uploading)
        assert (event.session_id is None) == unnamed, moment.payload


def test_burst_joins_at_once() -> None:
    moments = play("burst")
    joins = [moment.at for moment in moments if moment.event == "meeting.participantJoined"]
    assert len(joins) == 200
    assert max(joins) - min(joins) <= timedelta(seconds=2)


@pytest.mark.parametrize("name", SCENARIOS)
def test_participants_can_be_chosen(name: str) -> None:
    joined = [parse_event(m.payload) for m in play(name, participants=5) if m.event == "meeting.participantJoined"]
    assert len({event.participant_id for event in joined if isinstance(event, MeetingParticipantJoined)}) == 5


def test_scenarios_are_described() -> None:
    assert list(SCENARIOS) == ["meeting", "recording", "livestream", "burst"]
    assert all(scenario.description and scenario.name == name for name, scenario in SCENARIOS.items())
