from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.dyte import ONCE_ONLY_TYPES, PROVIDER_KEY_URLS, MalformedSignature, Signature, read_signatures, verify
from relay.model import UNREADABLE
from relay.payload import Defect, decode
from relay.routing import RouteOptions, RouteTable
from relay.vocabulary import KNOWN_TYPES, OTHER, type_label
from tests.build import EVENT_ID, PAYLOAD, RECEIVED_AT, delivery, event, parsed

SAMPLES = sorted((Path(__file__).parent.parent / "samples").rglob("*.json"))
SIGNED = base64.b64encode(b"signature").decode()
OTHER_SIGNED = base64.b64encode(b"another").decode()


class Accepts:
    """A key whose owner signs with fixed bytes, whatever the body."""

    def __init__(self, signature: bytes) -> None:
        self._signature = signature
        self.asked: list[tuple[bytes, bytes]] = []

    def verify(self, body: bytes, signature: bytes) -> bool:
        self.asked.append((body, signature))
        return signature == self._signature


@pytest.mark.parametrize("family", ["dyte", "rtk"])
def test_reads_either_header_family(family: str) -> None:
    headers = [
        ("Content-Type", "application/json"),
        (f"{family.title()}-Signature", SIGNED),
        (f"{family.upper()}-UUID", "0f0e-1"),
        (f"{family}-webhook-id", "hook_1.a:b"),
    ]
    assert read_signatures(headers) == [
        Signature(family=family, bytes=b"signature", uuid="0f0e-1", webhook_id="hook_1.a:b")
    ]


def test_reads_both_families_with_their_own_ids() -> None:
    headers = [("rtk-signature", OTHER_SIGNED), ("rtk-uuid", "r"), ("dyte-signature", SIGNED), ("dyte-webhook-id", "d")]
    assert read_signatures(headers) == [
        Signature(family="dyte", bytes=b"signature", uuid=None, webhook_id="d"),
        Signature(family="rtk", bytes=b"another", uuid="r", webhook_id=None),
    ]


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "no signature"),
        ([("x-signature", SIGNED), ("dyte-uuid", "1")], "no signature"),
        ([("dyte-signature", SIGNED), ("dyte-signature", SIGNED)], "dyte-signature is given more than once"),
        ([("rtk-signature", SIGNED), ("RTK-Signature", OTHER_SIGNED)], "rtk-signature is given more than once"),
        ([("dyte-signature", SIGNED), *[("rtk-signature", SIGNED)] * 2], "rtk-signature is given more than once"),
        ([("dyte-signature", f"{SIGNED}, {SIGNED}")], "not base64"),
        ([("dyte-signature", SIGNED[:-1])], "not base64"),
        ([("dyte-signature", f"={SIGNED}")], "not base64"),
        ([("dyte-signature", SIGNED[:4] + "\n" + SIGNED[4:])], "not base64"),
        ([("dyte-signature", SIGNED[:4] + "!" + SIGNED[4:])], "not base64"),
        ([("dyte-signature", "-_-_")], "not base64"),
        ([("dyte-signature", "ä" * 4)], "not base64"),
        ([("dyte-signature", "\ud800aaa")], "not base64"),
        ([("dyte-signature", "\x00")], "not base64"),
        ([("dyte-signature", SIGNED), ("rtk-signature", "?")], "not base64"),
    ],
)
def test_refuses_malformed_signatures(headers: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(MalformedSignature, match=says):
        read_signatures(headers)


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([], None),
        (["a-uuid"], "a-uuid"),
        (["x" * 128], "x" * 128),
        (["x" * 129], None),
        (["a", "a"], None),
        ([""], None),
        (["a b"], None),
        (["a\n"], None),
        (["a/b"], None),
        (["ä"], None),
        (["٣"], None),
        (["\udcff"], None),
    ],
)
def test_an_unsigned_id_that_looks_odd_counts_as_absent(values: list[str], read: str | None) -> None:
    signed = ("dyte-signature", SIGNED)
    [with_uuid] = read_signatures([signed, *(("dyte-uuid", value) for value in values)])
    [with_webhook_id] = read_signatures([signed, *(("dyte-webhook-id", value) for value in values)])
    assert (with_uuid.uuid, with_uuid.webhook_id) == (read, None)
    assert (with_webhook_id.uuid, with_webhook_id.webhook_id) == (None, read)


header_names = st.sampled_from(["dyte-signature", "rtk-signature", "dyte-uuid", "RTK-Webhook-Id", "user-agent"])


@given(st.lists(st.tuples(header_names | st.text(max_size=5), st.just(SIGNED) | st.text(max_size=20)), max_size=6))
def test_any_headers_are_read_or_malformed(headers: list[tuple[str, str]]) -> None:
    try:
        found = read_signatures(headers)
    except MalformedSignature:
        return
    assert 1 <= len(found) <= 2


def signature(family: str, data: bytes) -> Signature:
    return Signature(family=family, bytes=data, uuid=None, webhook_id=None)


def test_one_fitting_pair_of_signature_and_key_is_enough_and_is_named() -> None:
    dyte, rtk = signature("dyte", b"old"), signature("rtk", b"new")
    current, previous = Accepts(b"new"), Accepts(b"former")
    assert verify(b"body", [dyte, rtk], [previous, current]) is rtk
    assert verify(b"body", [rtk, dyte], [current]) is rtk
    assert current.asked[-1] == (b"body", b"new")


def test_no_fitting_pair_is_none() -> None:
    assert verify(b"body", [signature("dyte", b"old")], [Accepts(b"new"), Accepts(b"other")]) is None
    assert verify(b"body", [signature("dyte", b"old")], []) is None
    assert verify(b"body", [], [Accepts(b"new")]) is None


def test_parses_an_event() -> None:
    headers = (("User-Agent", "axios/0.21.4"), ("content-type", "application/json"), ("cookie", "secret"))
    body = json.dumps(PAYLOAD).encode()
    found = parsed(body, source="mine", headers=headers)
    assert found.body is body
    assert (found.id, found.source, found.type, found.received_at) == (EVENT_ID, "mine", "meeting.started", RECEIVED_AT)
    assert (found.meeting, found.session, found.stream) == ("bbb0f1c4-a-meeting", "c1d2e3-a-session", None)
    assert (found.organization, found.defect) == ("an-organization", None)
    assert (found.webhook_id, found.uuid) == ("a-webhook", "a-uuid")
    assert found.headers == {"user-agent": "axios/0.21.4", "content-type": "application/json"}
    assert found.payload == PAYLOAD


@pytest.mark.parametrize(
    ("payload", "meeting", "session", "organization", "stream"),
    [
        ({"recording": {"meetingId": "m", "roomUUID": "s", "organizationId": "o"}}, "m", "s", "o", None),
        ({"meetingId": "m", "sessionId": "s", "organizedBy": {"id": "o"}}, "m", "s", "o", None),
        (
            {
                "meeting": {"id": "m", "sessionId": "s", "organizedBy": {"id": "o"}},
                "recording": {"meetingId": "x", "roomUUID": "x", "organizationId": "x"},
                "meetingId": "y",
                "sessionId": "y",
                "organizedBy": {"id": "y"},
            },
            "m",
            "s",
            "o",
            None,
        ),
        (
            {
                "recording": {"meetingId": "m", "roomUUID": "s", "organizationId": "o"},
                "meetingId": "y",
                "sessionId": "y",
                "organizedBy": {"id": "y"},
            },
            "m",
            "s",
            "o",
            None,
        ),
        ({"meeting": {"id": "m", "organizedBy": "Acme"}, "streamId": "st"}, "m", None, None, "st"),
        ({"streamId": "482913007751264490318826"}, None, None, None, "482913007751264490318826"),
        ({"meeting": None, "recording": [], "streamId": 7}, None, None, None, None),
    ],
)
def test_finds_the_ids_in_their_odd_places(
    payload: dict[str, object],
    meeting: str | None,
    session: str | None,
    organization: str | None,
    stream: str | None,
) -> None:
    found = parsed(json.dumps({"event": "any.type"} | payload).encode())
    assert (found.meeting, found.session, found.organization, found.stream) == (meeting, session, organization, stream)
    assert found.thread == (meeting or stream)


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_documented_event_is_read_and_belongs_somewhere(path: Path) -> None:
    found = parsed(path.read_bytes())
    assert found.defect is None
    assert found.type in KNOWN_TYPES
    assert found.thread is not None
    assert found.organization is not None or "dyte-2021" in str(path) or found.type == "livestreaming.statusUpdate"


@pytest.mark.parametrize(
    ("name", "event_type"),
    [
        ('"meeting.started"', "meeting.started"),
        ('"recording.status.update"', "recording.status.update"),
        ('"A_b-c:9."', "A_b-c:9."),
        (f'"{"x" * 128}"', "x" * 128),
        (f'"{"x" * 129}"', None),
        ('""', None),
        ('"a b"', None),
        ('"a\\n"', None),
        ('"a\\u0000"', None),
        ('"ä"', None),
        ('"\\ud83d"', None),
        ('"a/b"', None),
        ("7", None),
        ("null", None),
        ('["meeting.started"]', None),
    ],
)
def test_a_type_must_be_fit_for_a_header_and_a_topic(name: str, event_type: str | None) -> None:
    found = parsed(f'{{"event":{name},"meetingId":"m"}}'.encode())
    assert found.type == (event_type or UNREADABLE)
    assert found.defect == (None if event_type else Defect.NO_TYPE)
    assert found.meeting == "m"


hostile = st.binary(max_size=80) | st.lists(
    st.sampled_from(
        [b'{"event":', b'"meeting.ended"', b'"meeting":{"id":', b'"\\ud83d"', b"{", b"}", b"[", b",", b"1"]
    ),
    max_size=9,
).map(b"".join)


@given(hostile, st.lists(st.tuples(st.text(max_size=12) | st.just("User-Agent"), st.text(max_size=300)), max_size=3))
def test_there_is_an_event_for_any_body(body: bytes, headers: list[tuple[str, str]]) -> None:
    found = parsed(body, headers=tuple(headers))
    assert found.body is body
    assert (found.defect is not None) == (found.type == UNREADABLE)
    assert found.payload == decode(body).payload
    assert all(value.isascii() and value.isprintable() for value in found.headers.values())
    assert found.log_context()["bytes"] == len(body)


def test_the_deepest_bodies_are_events_too() -> None:
    for body in (b"[" * (1 << 20), b'{"event":' * 100_000, b'{"event":"a","b":' + b"[" * 70 + b"]" * 70 + b"}"):
        found = parsed(body)
        assert (found.type, found.defect, found.payload) == (UNREADABLE, Defect.TOO_DEEP, {})


def test_keeps_the_first_of_a_header_short_and_printable() -> None:
    headers = (("User-Agent", "a\tb\x7f\udcffä" + "x" * 300), ("user-agent", "second"), ("authorization", "secret"))
    assert parsed(b"{}", headers=headers).headers == {"user-agent": "a?b???" + "x" * 194}


def test_an_event_decodes_itself_when_it_comes_from_a_store() -> None:
    assert event(body=b'{"event":"a"}').payload == {"event": "a"}


def test_repeats_are_told_only_where_a_body_names_its_occurrence() -> None:
    assert {name for name in KNOWN_TYPES if name.startswith("meeting.")} == ONCE_ONLY_TYPES


def test_the_known_types_are_the_documented_ones() -> None:
    assert sorted(KNOWN_TYPES) == [
        "livestreaming.statusUpdate",
        "meeting.chatSynced",
        "meeting.ended",
        "meeting.participantJoined",
        "meeting.participantLeft",
        "meeting.started",
        "meeting.summary",
        "meeting.transcript",
        "recording.statusUpdate",
    ]


def test_a_sender_cannot_choose_new_labels() -> None:
    assert [type_label(name) for name in sorted(KNOWN_TYPES)] == sorted(KNOWN_TYPES)
    assert type_label("meeting.exploded") == type_label(UNREADABLE) == type_label("") == OTHER


def test_keys_are_fetched_over_tls_only() -> None:
    assert {url.partition(":")[0] for url in PROVIDER_KEY_URLS.values()} == {"https"}


def test_an_unreadable_event_reaches_a_fallback_route_only() -> None:
    routes = [RouteOptions(name="all", to=("a",)), RouteOptions(name="rest", to=("b",), fallback=True)]
    targets = RouteTable(routes, orders={}).match(parsed(b"not json"))
    assert [target.sink for target in targets] == ["b"]


def test_a_log_line_says_who_and_how_much_and_never_what() -> None:
    of = delivery(payload={"event": "meeting.started", "meeting": {"id": "m"}, "streamKey": "s3cret"}, attempt=3)
    assert of.log_context() == {
        "delivery": 1,
        "event": EVENT_ID,
        "type": "meeting.started",
        "sink": "a-sink",
        "route": "a-route",
        "attempt": 3,
    }
    assert "s3cret" not in str(of.event.log_context())
    assert of.event.log_context()["meeting"] == "m"
