"""The HTTP sink against a scripted receiver: what it sends, and what it makes of every kind of answer."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from relay import __version__
from relay.errors import DeliveryError, Misconfigured, Rejected, Unavailable
from relay.model import Delivery, Reason
from relay.payload import find
from relay.sinks.http import HttpOptions, HttpSink
from tests.fakes.clock import FakeClock
from tests.fakes.delivery import delivery
from tests.fakes.http import Answer, Endless, FakeHttp, Hang, Request, Reset, SlowBody

SECRET = "whsec_" + "QUFB" * 12
OTHER_SECRET = "whsec_" + "QkJC" * 12
STARTED = {"event": "meeting.started", "meeting": {"id": "m-1"}}
Make = Callable[..., HttpSink]


def of_meeting(meeting: str | None, **more: Any) -> Delivery:
    made = delivery(STARTED)
    return replace(made, event=replace(made.event, meeting=meeting), **more)


@pytest.fixture
async def receiver() -> AsyncIterator[FakeHttp]:
    async with FakeHttp() as running:
        yield running


@pytest.fixture
async def make(receiver: FakeHttp) -> AsyncIterator[Make]:
    """Builds sinks for the receiver, and closes them."""
    made: list[HttpSink] = []

    def build(*, clock: FakeClock | None = None, **options: Any) -> HttpSink:
        chosen = {"type": "http", "url": receiver.url + "/hooks", "allow_private": True, **options}
        made.append(HttpSink("crm", HttpOptions.model_validate(chosen), clock=clock))
        return made[-1]

    yield build
    for sink in made:
        await sink.close()


async def failure(sink: HttpSink, of: Delivery | None = None) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await sink.deliver(of or delivery(STARTED))
    return caught.value


# What is sent


async def test_the_request_is_as_the_contract_says(receiver: FakeHttp, make: Make) -> None:
    sink = make(secret=SECRET, headers={"authorization": "Bearer token"})
    body = b'{"event":"meeting.started",\n "meeting":{"id":"m-1"},"n":12345678901234567890123}'
    assert await sink.deliver(replace(delivery(None, body=body), event=of_meeting("m-1").event, body=body)) == "204"
    request = receiver.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/hooks", body)
    sent = {name.lower(): text for name, text in request.headers.items()}
    assert sent.pop("webhook-timestamp").isdigit()
    assert sent.pop("webhook-signature").startswith("v1,")
    for of_the_client in ("host", "accept", "accept-encoding", "content-length"):
        sent.pop(of_the_client)
    assert sent == {
        "authorization": "Bearer token",
        "content-type": "application/json",
        "ce-id": "01931b2e-7f00-7000-8000-000000000001",
        "ce-source": "dyte",
        "ce-type": "meeting.started",
        "ce-time": "2026-11-23T11:30:00.000Z",
        "ce-subject": "m-1",
        "ce-specversion": "1.0",
        "webhook-id": "01931b2e-7f00-7000-8000-000000000001",
        "relay-route": "r",
        "relay-attempt": "1",
        "user-agent": f"dyte-relay/{__version__}",
    }


async def test_what_is_absent_is_not_sent(receiver: FakeHttp, make: Make) -> None:
    await make().deliver(of_meeting(None))
    names = {name.lower() for name in receiver.requests[0].headers}
    assert names.isdisjoint({"ce-subject", "webhook-signature", "relay-replay"})


async def test_an_unreadable_body_is_sent_as_bytes(receiver: FakeHttp, make: Make) -> None:
    await make().deliver(delivery(None, body=b"\xff no JSON"))
    assert receiver.requests[0].body == b"\xff no JSON"
    assert receiver.requests[0].headers["content-type"] == "application/octet-stream"


async def test_a_replay_says_so(receiver: FakeHttp, make: Make) -> None:
    await make().deliver(delivery(STARTED, replay=2))
    assert receiver.requests[0].headers["relay-replay"] == "2"


@pytest.mark.parametrize("name", ["user-agent", "User-Agent", "USER-AGENT"])
async def test_a_chosen_user_agent_replaces_ours(receiver: FakeHttp, make: Make, name: str) -> None:
    await make(headers={name: "mine/1"}).deliver(delivery(STARTED))
    assert receiver.requests[0].headers.getall("user-agent") == ["mine/1"]


async def test_no_compression_of_the_client_touches_the_body(receiver: FakeHttp, make: Make) -> None:
    await make().deliver(delivery(STARTED))
    assert "content-encoding" not in receiver.requests[0].headers
    assert "transfer-encoding" not in receiver.requests[0].headers


# The signature, judged by the reference library


def verified(secret: str, request: Request) -> bool:
    headers = {name.lower(): text for name, text in request.headers.items()}
    try:
        Webhook(secret).verify(request.body, headers)
    except WebhookVerificationError:
        return False
    return True


async def test_the_reference_library_accepts_the_signature(receiver: FakeHttp, make: Make) -> None:
    await make(secret=SECRET).deliver(delivery(STARTED))
    assert verified(SECRET, receiver.requests[0])
    assert not verified(OTHER_SECRET, receiver.requests[0])
    assert not verified(SECRET, replace(receiver.requests[0], body=b'{"other": 1}'))


async def test_while_rotating_either_secret_verifies(receiver: FakeHttp, make: Make) -> None:
    await make(secret=[SECRET, OTHER_SECRET]).deliver(delivery(STARTED))
    assert verified(SECRET, receiver.requests[0])
    assert verified(OTHER_SECRET, receiver.requests[0])


async def test_each_attempt_has_the_same_id_and_a_new_timestamp(receiver: FakeHttp, make: Make) -> None:
    clock = FakeClock(datetime.now(UTC) - timedelta(seconds=90))
    sink = make(secret=SECRET, clock=clock)
    await sink.deliver(delivery(STARTED))
    clock.advance(seconds=60)
    await sink.deliver(replace(delivery(STARTED), attempt=2))
    first, second = (request.headers for request in receiver.requests)
    assert first["webhook-id"] == second["webhook-id"]
    assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
    assert first["webhook-signature"] != second["webhook-signature"]
    assert (first["relay-attempt"], second["relay-attempt"]) == ("1", "2")
    assert all(verified(SECRET, request) for request in receiver.requests)


# What comes from outside cannot break a header


@pytest.mark.parametrize(
    ("meeting", "sent"),
    [
        ("Köln 1", "K%C3%B6ln%201"),
        ("100%", "100%25"),
        ('a"b', "a%22b"),
        ("会", "%E4%BC%9A"),
        ("a-b_c.d~e/f?", "a-b_c.d~e/f?"),
    ],
)
async def test_a_meeting_id_is_percent_encoded(receiver: FakeHttp, make: Make, meeting: str, sent: str) -> None:
    await make().deliver(of_meeting(meeting))
    assert receiver.requests[0].headers["ce-subject"] == sent


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(meeting=st.text(min_size=1, max_size=20), kind=st.text(min_size=1, max_size=20))
async def test_no_text_of_an_event_makes_a_header(receiver: FakeHttp, make: Make, meeting: str, kind: str) -> None:
    """Whatever passes `find`, and whatever type: one line, and the names stay what they are."""
    usable = find({"meeting": {"id": meeting}}, "meeting.id")
    made = of_meeting(usable)
    hostile = replace(made, event=replace(made.event, type=kind.encode("utf-8", "replace").decode()))
    await make().deliver(hostile)
    headers = receiver.requests[-1].headers
    assert len(headers.getall("ce-type")) == 1
    assert headers["ce-type"].isascii()
    assert ("ce-subject" in headers) == (usable is not None)
    assert headers["relay-attempt"] == "1"


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(receiver: FakeHttp, make: Make, status: int) -> None:
    async with FakeHttp() as canary:
        receiver.will(Answer(status, headers={"location": canary.url}))
        error = await failure(make())
        assert canary.requests == []
    assert isinstance(error, Misconfigured)
    assert (error.failure.reason, error.certain) == (Reason.REDIRECT, False)
    assert len(receiver.requests) == 1


# Answers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_2xx_is_delivered(receiver: FakeHttp, make: Make, status: int) -> None:
    receiver.will(Answer(status))
    assert await make().deliver(delivery(STARTED)) == str(status)


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (400, Rejected, Reason.REFUSED),
        (413, Rejected, Reason.TOO_LARGE),
        (415, Rejected, Reason.REFUSED),
        (422, Rejected, Reason.REFUSED),
        (401, Misconfigured, Reason.UNAUTHORIZED),
        (403, Misconfigured, Reason.UNAUTHORIZED),
        (404, Misconfigured, Reason.NOT_FOUND),
        (405, Misconfigured, Reason.NOT_FOUND),
        (410, Misconfigured, Reason.GONE),
        (408, Unavailable, Reason.TIMEOUT),
        (425, Unavailable, Reason.UNAVAILABLE),
        (429, Unavailable, Reason.THROTTLED),
        (418, Unavailable, Reason.REFUSED),
        (500, Unavailable, Reason.UNAVAILABLE),
        (599, Unavailable, Reason.UNAVAILABLE),
    ],
)
async def test_what_each_status_means(
    receiver: FakeHttp, make: Make, status: int, kind: type[DeliveryError], reason: Reason
) -> None:
    receiver.will(Answer(status, b"a body that is not quoted"))
    error = await failure(make())
    assert type(error) is kind
    assert error.failure.reason is reason
    assert str(status) in error.failure.detail
    assert "quoted" not in error.failure.detail
    if isinstance(error, Misconfigured):
        assert error.certain is (status == 410)


HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", timedelta(seconds=7)),
        ("0", None),
        ("999999999999999999999", HOUR),
        ("Mon, 23 Nov 2026 12:00:30 GMT", timedelta(seconds=30)),
        ("Mon, 23 Nov 2026 13:59:00 GMT", HOUR),
        ("Mon, 23 Nov 2020 12:00:00 GMT", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
        ("²", None),
        ("Mon, 99 Foo 2026 99:99:99 GMT", None),
    ],
)
async def test_only_a_sane_retry_after_is_honoured(
    receiver: FakeHttp, make: Make, text: str, expected: timedelta | None
) -> None:
    receiver.will(Answer(503, headers={"retry-after": text}))
    error = await failure(make(clock=FakeClock()))
    assert isinstance(error, Unavailable)
    assert error.retry_after == expected


# Responses that are too much


async def test_an_endless_response_is_dropped(receiver: FakeHttp, make: Make) -> None:
    receiver.will(Endless())
    sink = make()
    assert await sink.deliver(delivery(STARTED)) == "200"
    assert receiver.written < 16 * 1024 * 1024, "it was read on and on"
    await sink.deliver(delivery(STARTED))
    assert receiver.connections == 2, "the connection with the rest of it was used again"


async def test_a_response_that_never_ends_delays_for_a_moment_only(receiver: FakeHttp, make: Make) -> None:
    receiver.will(SlowBody())
    async with asyncio.timeout(30):
        assert await make().deliver(delivery(STARTED)) == "200"


async def test_a_gzip_bomb_is_not_unpacked(receiver: FakeHttp, make: Make) -> None:
    bomb = gzip.compress(b"\0" * 20_000_000)
    receiver.will(Answer(200, bomb, {"content-encoding": "gzip"}), Answer(200, b"x", {"content-encoding": "gzip"}))
    sink = make()
    for _ in range(2):
        assert await sink.deliver(delivery(STARTED)) == "200"
    assert receiver.connections == 1, "unpacked, it would have been too long to be read to its end"


async def test_a_connection_is_used_again(receiver: FakeHttp, make: Make) -> None:
    receiver.default = Answer(200, b"thank you")
    sink = make()
    for _ in range(5):
        await sink.deliver(delivery(STARTED))
    assert receiver.connections == 1


# Connections that fail


async def test_a_broken_connection_may_have_delivered(receiver: FakeHttp, make: Make) -> None:
    receiver.will(Reset())
    sink = make()
    error = await failure(sink)
    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.RESET
    assert "may have arrived" in error.failure.detail
    assert len(receiver.requests) == 1, "the client tried again by itself"
    assert await sink.deliver(delivery(STARTED)) == "204"


async def test_nobody_listens(receiver: FakeHttp, make: Make) -> None:
    sink = make()
    await receiver.stop()
    error = await failure(sink)
    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.CONNECT
    await receiver.start()
    assert await sink.deliver(delivery(STARTED)) == "204"


async def test_a_hang_is_the_lanes_to_end(receiver: FakeHttp, make: Make) -> None:
    """The sink itself has no time-out; its lane cancels it, and it can be used again."""
    receiver.will(Hang())
    sink = make()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await sink.deliver(delivery(STARTED))
    assert await sink.deliver(delivery(STARTED)) == "204"
