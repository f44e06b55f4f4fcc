"""Whatever an event holds, Slack takes its card, and nothing in it is markup, a mention or a secret."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.sinks.slack.cards import card, picture
from relay.sinks.slack.cards.picture import columns
from tests.effort import effort
from tests.fakes.delivery import delivery
from tests.fakes.slack_rules import fault, texts_of, units, weight

SAMPLES = sorted(Path(__file__).parent.parent.glob("samples/**/*.json"))
OUR_DATE = re.compile(r"<!date\^\d+\^\{date_short_pretty\} \{time\}\|\d{4}-\d\d-\d\d \d\d:\d\d UTC>")
ENTITY = re.compile(r"&(amp|lt|gt);")
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def assert_slack_takes(message: dict[str, Any]) -> None:
    """All limits hold, with room to spare; nothing but our own dates is markup; every entity is whole."""
    blocks = message["blocks"]
    texts = [message["text"], *(text["text"] for block in blocks for text in texts_of(block))]
    assert fault(message) is None
    assert len(blocks) <= 40
    assert weight(blocks) <= 10_000
    assert units(message["text"]) <= 4000
    assert message["unfurl_links"] is False
    assert message["unfurl_media"] is False
    for text in texts:
        bare = OUR_DATE.sub("", text)
        assert "<" not in bare
        assert ">" not in bare
        assert "&" not in ENTITY.sub("", bare)
        assert re.search("@(?!\u200b)", bare) is None
        assert ADDRESS.search(bare) is None
        text.encode()


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_slack_takes_the_card_of_every_sample(path: Path) -> None:
    item = delivery(None, body=path.read_bytes())
    message = card(item)

    assert_slack_takes(message)
    assert item.event.type not in TYPES or "grey_question" not in json.dumps(message)
    assert "/file" not in json.dumps(message)


TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(st.sampled_from("<>&@!|*_`~:#\u202e\u200b\n\r\t\0\x1b👋\ud83dab /"), max_size=200),
    st.sampled_from(
        ["<!channel>", "<https://evil.example|x>", "https://x.example/file?sig=1", "&lt;", "UPLOADED", "LIVE"]
    ),
    st.sampled_from(["x" * 5000, "&" * 300, "<" * 3000, "👋" * 99]),
    st.sampled_from(["2023-04-21 04:46:55.608944Z", "9999-12-31T23:59:59-23:59", "0001-01-01", "2026-06-03T10:00:00Z"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
KEYS = """
    id sessionId title startedAt endedAt organizedBy name peerId userDisplayName customParticipantId clientSpecificId
    joinedAt leftAt recordingId status meetingId startedTime stoppedTime outputFileName fileSize filesize downloadUrl
    downloadUrlExpiry stopReason recordingDuration errMessage reason streamId manualIngest playbackUrl chatDownloadUrl
    chatDownloadUrlExpiry transcriptDownloadExpiry transcriptDownloadUrlExpiry summaryDownloadUrlExpiry
""".split()  # noqa: SIM905
# Large payloads take their time to draw on a busy machine; what is tested here is not speed.
patient = settings(max_examples=effort(40), deadline=None, suppress_health_check=[HealthCheck.too_slow])
OBJECTS = st.dictionaries(st.sampled_from(KEYS), VALUES)
PAYLOADS = st.dictionaries(st.sampled_from([*KEYS, "meeting", "participant", "recording"]), OBJECTS | VALUES)
BLOCKS = OBJECTS | st.fixed_dictionaries({"text": VALUES, "fields": VALUES, "elements": VALUES})
TYPES = """
    meeting.started meeting.ended meeting.participantJoined meeting.participantLeft meeting.chatSynced
    meeting.transcript meeting.summary recording.statusUpdate livestreaming.statusUpdate
""".split()  # noqa: SIM905


@patient
@given(PAYLOADS, st.sampled_from(TYPES) | TEXTS, st.integers(0, 2))
def test_a_card_is_made_and_taken_whatever_the_payload(payload: dict[str, Any], event_type: str, replay: int) -> None:
    # not by way of JSON, so that infinities and half surrogates come along too
    item = delivery({}, event_type=event_type or "x", replay=replay)
    item.__dict__["payload"] = payload

    message = card(item)

    assert_slack_takes(message)
    lines = picture(message).splitlines()
    assert len({columns(line) for line in lines}) == 1
    assert all(UNSAFE.search(line) is None for line in lines)


@given(st.binary(max_size=60))
def test_a_card_is_made_of_any_bytes(body: bytes) -> None:
    assert_slack_takes(card(delivery(None, body=body)))


@given(st.sampled_from(TYPES), st.text("ab", min_size=4, max_size=4))
def test_secrets_of_a_payload_are_not_shown(event_type: str, mark: str) -> None:
    secret = f"canary-{mark}"
    link = f"https://x.example/{secret}?sig={secret}"
    paths = ["downloadUrl", "audioDownloadUrl", "chatDownloadUrl", "transcriptDownloadUrl", "summaryDownloadUrl"]
    exposed = dict.fromkeys([*paths, "playbackUrl", "ingestServer"], link) | {"streamKey": secret}
    payload = {"event": event_type, "meeting": exposed, "recording": exposed | {"errMessage": link}, **exposed}

    assert secret not in json.dumps(card(delivery(payload)))


@patient
@given(st.dictionaries(st.sampled_from(["text", "blocks", "fields"]), VALUES | st.lists(BLOCKS)))
def test_a_picture_is_made_of_anything(message: dict[str, Any]) -> None:
    assert picture(message).startswith("╭")
