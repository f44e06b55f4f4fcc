"""The simulator: signed webhooks that verify, parse, repeat and arrive in the order that was asked for."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import islice, pairwise
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from relay.events import CATALOGUE, LivestreamingStatusUpdate, parse_event
from relay.events.reading import Part
from relay.simulator import (
    GAP,
    ORGANIZATION,
    SCENARIOS,
    START,
    WEBHOOK_ID,
    Moment,
    Provider,
    SimulatedWebhook,
    SimulatorKey,
    play,
    simulate,
    well_known,
)

PROVIDERS: list[Provider] = ["dyte", "realtimekit"]
FAMILIES: dict[Provider, str] = {"dyte": "dyte", "realtimekit": "rtk"}


@pytest.fixture(scope="module")
def key() -> SimulatorKey:
    return SimulatorKey.create()


def verify(document: bytes, body: bytes, signature: str) -> None:
    """What a receiver does: https://developers.cloudflare.com/realtime/realtimekit/webhooks/."""
    public = serialization.load_pem_public_key(json.loads(document)["data"]["publicKey"].encode())
    assert isinstance(public, rsa.RSAPublicKey)
    public.verify(base64.b64decode(signature, validate=True), body, padding.PKCS1v15(), hashes.SHA256())


# What is sent


def parts(part: Part) -> list[Part]:
    inner = [child for name in type(part).model_fields if isinstance(child := getattr(part, name), Part)]
    return [part, *(below for child in inner for below in parts(child))]


@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_webhook_is_an_event_that_is_fully_read(key: SimulatorKey, name: str, provider: Provider) -> None:
    for webhook in simulate(key, meetings=5, provider=provider, scenario=name, participants=9):
        event = parse_event(webhook.body)
        assert type(event) is CATALOGUE[webhook.event]
        assert event.unreadable == {}
        assert [part.model_extra for part in parts(event) if part.model_extra] == []
        if provider == "dyte" and isinstance(event, LivestreamingStatusUpdate):
            assert (event.meeting_id, event.organization_id) == (None, None)
        else:
            assert (event.meeting_id, event.organization_id) == (webhook.meeting, ORGANIZATION)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_signature_verifies(key: SimulatorKey, provider: Provider) -> None:
    header = f"{FAMILIES[provider]}-signature"
    for webhook in simulate(key, meetings=2, provider=provider, duplicates=0.5):
        verify(well_known(key), webhook.body, webhook.headers[header])
        with pytest.raises(InvalidSignature):
            verify(well_known(key), webhook.body + b" ", webhook.headers[header])


def test_headers_of_dyte(key: SimulatorKey) -> None:
    headers = dict(next(simulate(key, provider="dyte")).headers)
    assert len(headers.pop("dyte-signature")) == 344
    assert len(headers.pop("dyte-uuid")) == 36
    assert headers == {
        "accept": "application/json, text/plain, */*",
        "content-type": "application/json",
        "user-agent": "axios/0.21.4",
        "dyte-webhook-id": WEBHOOK_ID,
    }


def test_headers_of_realtimekit(key: SimulatorKey) -> None:
    headers = dict(next(simulate(key, provider="realtimekit", webhook_id="hook")).headers)
    assert len(headers.pop("rtk-signature")) == 344
    assert len(headers.pop("rtk-uuid")) == 36
    assert headers == {"content-type": "application/json", "rtk-webhook-id": "hook"}


def test_bodies_are_written_as_node_does(key: SimulatorKey) -> None:
    bodies = [webhook.body for webhook in simulate(key, meetings=5)]
    for body in bodies:
        assert json.dumps(json.loads(body), ensure_ascii=False, separators=(",", ":")).encode() == body
        assert b"\\u" not in body
        assert b".0," not in body
    assert any(not body.isascii() for body in bodies)


def test_organization_can_be_chosen(key: SimulatorKey) -> None:
    webhooks = simulate(key, provider="realtimekit", organization="org")
    assert {parse_event(webhook.body).organization_id for webhook in webhooks} == {"org"}


# Many meetings


class Stamp(SimulatorKey):
    """Signs nothing: where thousands of webhooks are counted, their signatures are most of the work."""

    def sign(self, body: bytes) -> str:
        return "AAAA"


@pytest.fixture(scope="module")
def stamp() -> Stamp:
    made = Stamp.create()
    assert isinstance(made, Stamp)
    return made


def run(key: SimulatorKey, **options: Any) -> list[SimulatedWebhook]:
    return list(simulate(key, **options))


def natural(seed: str, number: int) -> Sequence[Moment]:
    """One of many meetings as it went, whatever became of it on the way."""
    return play("meeting", seed=f"{seed}/{number}", start=START + GAP * number)


def uuid(webhook: SimulatedWebhook) -> str:
    return webhook.headers["dyte-uuid"]


def test_same_seed_same_webhooks(key: SimulatorKey) -> None:
    rough: dict[str, Any] = {"meetings": 4, "duplicates": 0.3, "disorder": 0.3}
    assert run(key, seed=7, **rough) == run(key, seed=7, **rough)
    assert {w.body for w in run(key, seed=7)}.isdisjoint(w.body for w in run(key, seed=8))


def test_bodies_do_not_depend_on_the_way(key: SimulatorKey) -> None:
    smooth = run(key, meetings=4)
    rough = run(key, meetings=4, duplicates=0.5, disorder=0.5)
    assert Counter(w.body for w in smooth) == Counter(w.body for w in rough if not w.repeat)
    assert [w.body for w in smooth] != [w.body for w in rough if not w.repeat]


def test_a_smooth_way_keeps_the_order_and_repeats_nothing(key: SimulatorKey) -> None:
    webhooks = run(key, meetings=6, seed="s")
    assert len({uuid(webhook) for webhook in webhooks}) == len(webhooks)
    assert not any(webhook.repeat or webhook.late for webhook in webhooks)
    for number in range(6):
        moments = natural("s", number)
        sent = [webhook for webhook in webhooks if webhook.meeting == moments[0].meeting]
        assert [json.loads(webhook.body) for webhook in sent] == [moment.payload for moment in moments]
        assert [webhook.at for webhook in sent] == [moment.at for moment in moments]


def test_meetings_are_interleaved(key: SimulatorKey) -> None:
    webhooks = run(key, meetings=6)
    assert all(before.at <= after.at for before, after in pairwise(webhooks))
    changes = sum(before.meeting != after.meeting for before, after in pairwise(webhooks))
    assert changes > len(webhooks) / 3


def test_few_meetings_run_at_the_same_time(stamp: Stamp) -> None:
    """What bounds the memory of a million meetings."""
    webhooks = run(stamp, meetings=300, scenario="livestream", participants=1)
    last = {webhook.meeting: number for number, webhook in enumerate(webhooks)}
    open_now: set[str] = set()
    most = 0
    for number, webhook in enumerate(webhooks):
        open_now.add(webhook.meeting)
        most = max(most, len(open_now))
        if last[webhook.meeting] == number:
            open_now.discard(webhook.meeting)
    assert len(last) == 300
    assert 2 <= most <= 20


def test_a_million_meetings_are_made_while_they_are_taken(key: SimulatorKey) -> None:
    assert len(list(islice(simulate(key, meetings=10**6, scenario="burst"), 500))) == 500


def test_all_meetings_can_start_at_once(key: SimulatorKey) -> None:
    webhooks = run(key, meetings=5, gap=timedelta(0), scenario="recording")
    assert [webhook.event for webhook in webhooks[:10:2]] == ["meeting.started"] * 5


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_duplicates_occur_as_often_as_asked_for(stamp: Stamp, share: float) -> None:
    webhooks = run(stamp, meetings=60, duplicates=share)
    repeats = [webhook for webhook in webhooks if webhook.repeat]
    assert len(repeats) / (len(webhooks) - len(repeats)) == pytest.approx(share, rel=0.25)
    first = {uuid(webhook): webhook for webhook in webhooks if not webhook.repeat}
    for repeat in repeats:
        original = first[uuid(repeat)]
        assert (repeat.body, repeat.headers) == (original.body, original.headers)
        assert timedelta(seconds=1) <= repeat.at - original.at <= timedelta(seconds=15)


def test_repeats_can_have_a_new_uuid(key: SimulatorKey) -> None:
    webhooks = run(key, meetings=3, duplicates=1.0, fresh_uuid=True)
    assert len({uuid(webhook) for webhook in webhooks}) == len(webhooks)
    assert Counter(w.body for w in webhooks if w.repeat) == Counter(w.body for w in webhooks if not w.repeat)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_disorder_occurs_as_often_as_asked_for(stamp: Stamp, share: float) -> None:
    webhooks = run(stamp, meetings=60, disorder=share, seed="d")
    late = sum(webhook.late for webhook in webhooks)
    assert late / (len(webhooks) - 60) == pytest.approx(share, rel=0.25)  # nothing comes after the last of a meeting
    assert all(before.at <= after.at for before, after in pairwise(webhooks))
    for number in range(60):
        assert_late_ones_are_overtaken(webhooks, natural("d", number))


def assert_late_ones_are_overtaken(webhooks: Sequence[SimulatedWebhook], moments: Sequence[Moment]) -> None:
    payloads = [moment.payload for moment in moments]
    arrived = [webhook for webhook in webhooks if webhook.meeting == moments[0].meeting]
    places = [payloads.index(json.loads(webhook.body)) for webhook in arrived]
    for position, webhook in enumerate(arrived):
        if webhook.late:
            assert any(place > places[position] for place in places[:position]), webhook.event


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"scenario": "party"}, "there is no scenario 'party'; there are meeting, recording, livestream, burst"),
        ({"provider": "zoom"}, "there is no provider 'zoom'; there are dyte, realtimekit"),
        ({"duplicates": 1.1}, "duplicates is a share between 0 and 1, not 1.1"),
        ({"disorder": -0.1}, "disorder is a share"),
        ({"disorder": float("nan")}, "disorder is a share"),
        ({"meetings": -1}, "cannot be negative"),
        ({"gap": timedelta(seconds=-1)}, "cannot be negative"),
        ({"participants": 0}, "a meeting needs a participant"),
    ],
)
def test_what_cannot_be_is_refused_at_once(key: SimulatorKey, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        simulate(key, **options)


def test_no_meetings_no_webhooks(key: SimulatorKey) -> None:
    assert run(key, meetings=0) == []
