"""What the sender gets as an answer: every row of the contract's table, through real HTTP."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from multidict import CIMultiDict

from relay import gateway as limits
from relay.errors import StoreUnavailable
from relay.publickey import PublicKey
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import ScriptedIntake, ScriptedKeys, gateway_running
from tests.fakes.keys import key_pair
from tests.running import MEETING, ORGANIZATION, payload, relay_running, signed

BODY = orjson.dumps(payload())
STREAM = orjson.dumps({"event": "livestreaming.statusUpdate", "streamId": "stream-1", "status": "LIVE"})


def trusted() -> PublicKey:
    return PublicKey.read(key_pair().public_pem)


# Accepted


async def test_the_answer_waits_for_the_commit() -> None:
    intake = ScriptedIntake()
    intake.hold()
    async with gateway_running(intake) as gateway:
        posting = asyncio.create_task(gateway.post())
        await intake.was_asked()
        assert (await gateway.request("GET", "/elsewhere")).status == 404  # the server turns, and still says nothing
        assert not posting.done()
        intake.may_commit.set()
        answer = await posting
    assert answer.status == 200
    assert answer.json == {"status": "accepted", "id": intake.admitted[0].event.id}
    assert answer.headers["content-type"] == "application/json"


async def test_what_was_accepted_is_in_the_store_as_it_was_signed(tmp_path: Path) -> None:
    body = b'{"event": "meeting.started",\n  "meeting": {"id": "m", "id": "m-2", "n": 12345678901234567890123}}'
    async with relay_running(tmp_path) as relay:
        answer = await relay.post(body, uuid="uuid-1")
        record = await relay.app.store.event(answer.json["id"])
    assert record is not None
    event = record.event
    assert (event.body, event.uuid, event.type, event.source) == (body, "uuid-1", "meeting.started", "dyte")


# Duplicates


async def test_the_same_uuid_is_a_duplicate(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        first = await relay.post(BODY, uuid="u")
        second = await relay.post(BODY, uuid="u")
        metrics, totals = await relay.metrics(), await relay.totals()
    assert second.status == 200
    assert second.json == {"status": "duplicate", "id": first.json["id"]}
    assert metrics['relay_duplicates_total{kind="uuid",source="dyte"}'] == 1
    assert totals["routed"] == 1


async def test_a_retry_under_a_new_uuid_is_a_duplicate_inside_the_window_only(tmp_path: Path) -> None:
    clock = FakeClock()
    async with relay_running(tmp_path, clock=clock) as relay:
        first = await relay.post(BODY)
        clock.advance(minutes=4)
        inside = await relay.post(BODY)
        clock.advance(minutes=6)
        outside = await relay.post(BODY)
        metrics = await relay.metrics()
    assert inside.json == {"status": "duplicate", "id": first.json["id"]}
    assert outside.json["status"] == "accepted"
    assert metrics['relay_duplicates_total{kind="body",source="dyte"}'] == 1


async def test_types_that_repeat_honestly_have_no_window(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        answers = [(await relay.post(STREAM)).json["status"] for _ in range(2)]
    assert answers == ["accepted", "accepted"]


async def test_the_window_can_be_turned_off(tmp_path: Path) -> None:
    sources = {"dyte": {"public_key": key_pair().public_pem, "replay_window": "0"}}
    async with relay_running(tmp_path, sources=sources) as relay:
        answers = [(await relay.post(BODY)).json["status"] for _ in range(2)]
    assert answers == ["accepted", "accepted"]


async def test_the_same_uuid_with_another_body_is_an_event_of_its_own(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        await relay.post(BODY, uuid="u")
        other = await relay.post(payload("meeting.ended"), uuid="u")
        metrics = await relay.metrics()
    assert other.json["status"] == "accepted"
    assert metrics['relay_uuid_conflict_total{source="dyte"}'] == 1


# Authentic, whatever it says

DEEP = b'{"event":"meeting.started","deep":' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize(
    ("body", "defect"),
    [
        (b"", "not_json"),
        (b"\xff\x00 no JSON", "not_json"),
        (b'{"event": NaN}', "not_json"),
        (b"[1]", "not_object"),
        (DEEP, "too_deep"),
        (b"{}", "no_type"),
        (b'{"event": "a\\nb"}', "no_type"),
    ],
    ids=["empty", "no JSON", "NaN", "no object", "too deep", "no type", "type of two lines"],
)
async def test_a_signed_body_is_taken_even_if_it_cannot_be_read(tmp_path: Path, body: bytes, defect: str) -> None:
    audit = {"audit": {"type": "file", "path": str(tmp_path / "events.jsonl")}}
    routes = [{"name": "all", "events": ["*"], "to": ["audit"]}]
    async with relay_running(tmp_path, sinks=audit, routes=routes) as relay:
        answer = await relay.post(body)
        record = await relay.app.store.event(answer.json["id"])
        metrics = await relay.metrics()
    assert (answer.status, answer.json["status"]) == (200, "accepted")
    assert record is not None
    assert (record.event.body, record.event.defect, record.state) == (body, defect, "unrouted")
    assert metrics[f'relay_events_defect_total{{defect="{defect}"}}'] == 1
    assert metrics["relay_events_unrouted_total"] == 1


async def test_an_unknown_type_is_taken_and_counted_as_other(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        answer = await relay.post(payload("meeting.newThing"))
        metrics = await relay.metrics()
    assert answer.status == 200
    assert metrics['relay_events_total{source="dyte",type="other"}'] == 1


@pytest.mark.parametrize(
    ("allowed", "sent", "reason"),
    [
        ({"organizations": ["mine"]}, payload(), "organization_not_allowed"),
        ({"organizations": ["mine"]}, {"event": "x"}, "organization_not_allowed"),
        ({"organizations": ["mine"], "webhook_ids": ["0c2f6c1e-webhook"]}, payload(), "organization_not_allowed"),
        ({"webhook_ids": ["mine"]}, payload(), "webhook_id_not_allowed"),
    ],
    ids=["another organisation", "no organisation", "another one, known webhook", "another webhook"],
)
async def test_what_is_not_for_us_is_kept_and_goes_nowhere(
    tmp_path: Path, allowed: dict[str, Any], sent: dict[str, Any], reason: str
) -> None:
    sinks = {"audit": {"type": "file", "path": str(tmp_path / "events.jsonl")}}
    routes = [
        {"name": "all", "events": ["*"], "to": ["audit"]},
        {"name": "rest", "fallback": True, "to": ["audit"]},
    ]
    sources = {"dyte": {"public_key": key_pair().public_pem, **allowed}}
    async with relay_running(tmp_path, sinks=sinks, routes=routes, sources=sources) as relay:
        answer = await relay.post(sent)
        record = await relay.app.store.event(answer.json["id"])
        deliveries = await relay.app.store.deliveries()
        metrics = await relay.metrics()
    assert (answer.status, answer.json["status"]) == (200, "accepted")
    assert record is not None
    assert (record.state, record.detail) == ("quarantined", reason)
    assert deliveries == []
    assert metrics[f'relay_events_quarantined_total{{reason="{reason}"}}'] == 1
    assert metrics["relay_events_unrouted_total"] == 0


@pytest.mark.parametrize(
    ("allowed", "body"),
    [
        ({"organizations": [ORGANIZATION]}, BODY),
        ({"webhook_ids": ["0c2f6c1e-webhook"]}, BODY),
        ({"organizations": ["mine"], "webhook_ids": ["0c2f6c1e-webhook"]}, STREAM),
    ],
    ids=["organisation", "webhook", "livestream without organisation"],
)
async def test_what_is_for_us_is_delivered(tmp_path: Path, allowed: dict[str, Any], body: bytes) -> None:
    sources = {"dyte": {"public_key": key_pair().public_pem, **allowed}}
    async with relay_running(tmp_path, sources=sources) as relay:
        await relay.post(body)
        await relay.delivered("audit", 1)


# Signatures


def headers(*pairs: tuple[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(pairs)


SIGNATURE = key_pair().sign(BODY)


@pytest.mark.parametrize(
    "given",
    [
        headers(("dyte-uuid", "u")),
        headers(("dyte-signature", "")),
        headers(("dyte-signature", "not base64!")),
        headers(("dyte-signature", SIGNATURE[:-1])),
        headers(("dyte-signature", SIGNATURE[:10] + " " + SIGNATURE[10:])),
        headers(("dyte-signature", SIGNATURE), ("dyte-signature", SIGNATURE)),
        headers(("dyte-signature", SIGNATURE), ("dyte-signature", "AAAA")),
        headers(("rtk-signature", SIGNATURE), ("rtk-signature", SIGNATURE)),
        headers(("dyte-signature", SIGNATURE), ("rtk-signature", "!")),
    ],
    ids=["none", "empty", "no base64", "cut", "space inside", "twice", "two different", "rtk twice",
         "one malformed"],
)  # fmt: skip
async def test_a_missing_or_malformed_signature_is_401_whatever_the_keys(given: CIMultiDict[str]) -> None:
    intake = ScriptedIntake()
    async with gateway_running(intake, keys=ScriptedKeys(trusted(), fresh=False)) as gateway:
        answer = await gateway.post(BODY, headers=given)
        metrics = gateway.metrics()
    assert answer.status == 401
    assert intake.admitted == []
    assert metrics['relay_requests_total{outcome="unsigned",source="dyte"}'] == 1


@pytest.mark.parametrize("family", ["dyte", "rtk"])
async def test_each_header_family_is_accepted(family: str) -> None:
    intake = ScriptedIntake()
    async with gateway_running(intake) as gateway:
        answer = await gateway.post(BODY, family=family, uuid=f"{family}-1", webhook_id=f"{family}-w")
    assert answer.status == 200
    event = intake.admitted[0].event
    assert (event.uuid, event.webhook_id, event.meeting) == (f"{family}-1", f"{family}-w", MEETING)


@pytest.mark.parametrize(("right", "wrong"), [("dyte", "rtk"), ("rtk", "dyte")])
async def test_the_ids_are_those_of_the_family_that_verified(right: str, wrong: str) -> None:
    intake = ScriptedIntake()
    both = signed(BODY, family=wrong, key=key_pair("stranger"), uuid="theirs") | signed(
        BODY, family=right, uuid="ours", webhook_id="our-webhook"
    )
    async with gateway_running(intake) as gateway:
        answer = await gateway.post(BODY, headers=both)
    assert answer.status == 200
    assert (intake.admitted[0].event.uuid, intake.admitted[0].event.webhook_id) == ("ours", "our-webhook")


async def test_a_wrong_signature_is_401_where_the_keys_are_fresh() -> None:
    keys = ScriptedKeys(trusted(), fresh=True)
    intake = ScriptedIntake()
    async with gateway_running(intake, keys=keys) as gateway:
        answers = [
            await gateway.post(BODY, key=key_pair("stranger")),
            await gateway.post(BODY + b" ", headers=signed(BODY)),
        ]
        metrics = gateway.metrics()
    assert [answer.status for answer in answers] == [401, 401]
    assert (intake.admitted, keys.refreshed) == ([], 2)
    assert metrics['relay_requests_total{outcome="bad_signature",source="dyte"}'] == 2


@pytest.mark.parametrize(
    ("keys", "outcome"),
    [
        (ScriptedKeys(trusted(), fresh=False), "stale_key"),
        (ScriptedKeys(trusted(), hangs=True), "stale_key"),
        (ScriptedKeys(fresh=False), "no_key"),
        (ScriptedKeys(hangs=True), "no_key"),
    ],
    ids=["unreachable", "slow", "none yet", "none yet, slow"],
)
async def test_a_signature_that_cannot_be_judged_is_503(
    monkeypatch: pytest.MonkeyPatch, keys: ScriptedKeys, outcome: str
) -> None:
    monkeypatch.setattr("relay.gateway.KEY_TIME", 0.1)
    async with gateway_running(ScriptedIntake(), keys=keys) as gateway:
        answer = await gateway.post(BODY, key=key_pair("stranger"))
        metrics = gateway.metrics()
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert metrics[f'relay_requests_total{{outcome="{outcome}",source="dyte"}}'] == 1


# The store


@pytest.mark.parametrize("kind", ["busy", "full", "io", "closed", "other"])
async def test_a_store_that_cannot_is_503(kind: str) -> None:
    intake = ScriptedIntake(error=StoreUnavailable("store: a secret path", kind=kind))
    async with gateway_running(intake) as gateway:
        answer = await gateway.post(BODY)
        metrics = gateway.metrics()
    assert (answer.status, answer.json) == (503, {"status": "store"})
    assert int(answer.headers["retry-after"]) > 0
    assert metrics[f'relay_store_errors_total{{kind="{kind}"}}'] == 1


async def test_a_commit_that_is_not_done_in_its_budget_is_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.gateway.COMMIT_TIME", 0.05)
    intake = ScriptedIntake()
    intake.hold()
    async with gateway_running(intake) as gateway:
        answer = await gateway.post(BODY)
        metrics = gateway.metrics()
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert metrics['relay_store_errors_total{kind="slow"}'] == 1


async def test_the_store_that_was_really_closed_is_503(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        await relay.app.store.close()
        answer = await relay.post(BODY)
        ready = await relay.admin("/readyz")
    assert answer.status == 503
    assert (ready.status, ready.json["checks"]["store"]) == (503, "store: closed; the relay must be restarted")


@pytest.mark.real_limits
def test_all_time_limits_end_before_the_sender_gives_up() -> None:
    assert limits.HARD_END <= 2.5
    assert max(limits.BODY_TIME, limits.KEY_TIME, limits.COMMIT_TIME) < limits.HARD_END
    assert timedelta(seconds=limits.HARD_END) < timedelta(seconds=3)
