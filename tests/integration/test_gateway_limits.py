"""What bounds a request: size, time, load, method, path, encoding; and that the answer waits for no sink."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from aiohttp.web_protocol import RequestHandler

from relay.gateway.options import GatewayOptions
from relay.server import Connection
from tests.fakes.gateway import GatewayServer, ScriptedIntake, ScriptedKeys, gateway_running
from tests.fakes.http import WAIT, FakeHttp, Hang
from tests.fakes.keys import key_pair
from tests.running import payload, relay_running, signed, until

BODY = orjson.dumps(payload())
SMALL = GatewayOptions(max_body=1000)


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    """A body whose length is not told beforehand."""
    for start in range(0, len(body), 100):
        yield body[start : start + 100]


# Size


@pytest.mark.parametrize("way", ["with its length", "chunked"])
@pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413), (300_000, 413)])
async def test_a_body_above_the_limit_is_413_and_one_at_the_limit_is_not(
    size: int, status: int, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    body = BODY + b" " * (size - len(BODY))
    async with gateway_running(ScriptedIntake(), options=SMALL) as gateway:
        data = chunks(body) if way == "chunked" else body
        answer = await gateway.request("POST", "/webhooks/dyte", data=data, headers=signed(body))
        metrics = gateway.metrics()
    assert answer.status == status
    loud = [record for record in caplog.records if "max_body" in str(vars(record).get("detail"))]
    assert len(loud) == metrics['relay_requests_total{outcome="too_large",source="dyte"}'] == (status == 413)
    assert all(record.levelno >= logging.WARNING for record in loud)


async def test_a_body_that_is_announced_as_too_large_is_not_waited_for() -> None:
    async with gateway_running(ScriptedIntake(), options=SMALL) as gateway:
        answer, writer, _ = await raw(gateway, head("content-length: 1001"))
        writer.close()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_there_is_no_unlimited_body() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        GatewayOptions(max_body=0)


# Time


async def raw(gateway: GatewayServer, request: bytes) -> tuple[bytes, asyncio.StreamWriter, asyncio.StreamReader]:
    """Send bytes as they are, and return the answer's first line and headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(request)
    async with asyncio.timeout(WAIT):
        return await reader.readuntil(b"\r\n\r\n"), writer, reader


def head(*lines: str, path: str = "/webhooks/dyte") -> bytes:
    signature = (f"{name}: {text}" for name, text in signed(BODY).items())
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: relay", *signature, *lines, "", ""]).encode()


@pytest.fixture
def lingering(monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself aiohttp would read on for ten seconds, for what is left of a body; here for ever."""
    defaults = cast("Any", RequestHandler.__init__).__kwdefaults__
    assert defaults["lingering_time"] == 10.0
    monkeypatch.setitem(defaults, "lingering_time", 1000.0)


@pytest.mark.usefixtures("lingering")
@pytest.mark.parametrize("sent", [b"", BODY[:20]], ids=["nothing", "half"])
async def test_a_slow_body_is_503_and_the_connection_is_closed(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr("relay.gateway.BODY_TIME", 0.1)
    async with gateway_running(ScriptedIntake()) as gateway:
        answer, writer, reader = await raw(gateway, head(f"content-length: {len(BODY)}") + sent)
        async with asyncio.timeout(WAIT):
            rest = await reader.read()
        metrics = gateway.metrics()
        writer.close()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer.lower()
    assert b"retry-after: " in answer.lower()
    assert orjson.loads(rest) == {"status": "slow"}
    assert metrics['relay_requests_total{outcome="slow",source="dyte"}'] == 1


@pytest.mark.usefixtures("lingering")
async def test_a_body_that_drips_for_ever_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.gateway.BODY_TIME", 0.1)
    async with gateway_running(ScriptedIntake()) as gateway:
        answer, writer, reader = await raw(gateway, head(f"content-length: {len(BODY)}"))
        dripped = asyncio.create_task(drip(writer))
        async with asyncio.timeout(WAIT):
            with suppress(ConnectionError):  # what drips into a closed connection is answered with a reset
                await reader.read()
            await dripped
    assert answer.startswith(b"HTTP/1.1 503 ")


async def drip(writer: asyncio.StreamWriter) -> None:
    """A byte now and then, until the other side has had enough."""
    try:
        for _ in range(len(BODY) - 1):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)
    except ConnectionError:
        return
    raise AssertionError("the whole body was taken")


async def test_a_body_that_breaks_off_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = ScriptedIntake()
    async with gateway_running(intake) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head(f"content-length: {len(BODY)}") + BODY[:10])
        await writer.drain()
        writer.close()
        async with asyncio.timeout(WAIT):
            while not gateway.metrics()['relay_requests_total{outcome="broken",source="dyte"}']:
                await gateway.request("GET", "/elsewhere")
    assert intake.admitted == []


async def test_nothing_takes_longer_than_the_hard_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.gateway.HARD_END", 0.1)
    intake = ScriptedIntake()
    intake.hold()
    async with gateway_running(intake) as gateway:
        answer = await gateway.post(BODY)
        metrics = gateway.metrics()
    assert (answer.status, answer.json, answer.headers["retry-after"]) == (503, {"status": "late"}, "2")
    assert metrics['relay_requests_total{outcome="late",source="dyte"}'] == 1


# Load


async def test_a_loop_that_cannot_keep_up_refuses_at_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    intake = ScriptedIntake()
    async with gateway_running(intake) as gateway:
        monkeypatch.setattr("relay.gateway.MOST_LAG", -1.0)  # so that any is too much
        refused = await gateway.post(BODY)
        monkeypatch.undo()
        taken = await gateway.post(BODY)
        metrics = gateway.metrics()
    assert (refused.status, refused.headers["retry-after"], taken.status) == (503, "2", 200)
    assert metrics['relay_requests_total{outcome="overloaded",source="dyte"}'] == 1
    assert len(intake.admitted) == 1
    assert "s behind: it has more to do than it can" in _refusal(caplog)


def _refusal(caplog: pytest.LogCaptureFixture) -> str:
    [line] = [record for record in caplog.records if record.msg == "request.refused"]
    assert vars(line)["outcome"] == "overloaded"
    return str(vars(line)["detail"])


async def test_too_many_in_flight_is_503_and_the_others_are_answered(caplog: pytest.LogCaptureFixture) -> None:
    intake = ScriptedIntake()
    intake.hold()
    async with gateway_running(intake, options=GatewayOptions(max_inflight=1)) as gateway:
        first = asyncio.create_task(gateway.post(BODY))
        await intake.was_asked()
        refused = await gateway.post(BODY)
        assert gateway.metrics()["relay_inflight"] == 1
        intake.may_commit.set()
        taken = await first
        again = await gateway.post(BODY)
        metrics = gateway.metrics()
    assert (refused.status, refused.headers["retry-after"]) == (503, "2")
    assert (taken.status, again.status) == (200, 200)
    assert metrics['relay_requests_total{outcome="overloaded",source="dyte"}'] == 1
    assert metrics["relay_inflight"] == 0
    assert _refusal(caplog) == "1 requests are at work, as many as gateway.max_inflight lets in"


async def _at_work(gateway: GatewayServer, count: int) -> None:
    async def are() -> bool:
        return gateway.metrics()["relay_inflight"] == count

    await until(are, f"{count} requests at work")


async def test_large_bodies_together_have_a_bound_and_small_ones_do_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever sends them has signed nothing yet."""
    size = 20_000
    monkeypatch.setattr("relay.gateway.bodies.MOST", 2 * size + 100)
    intake = ScriptedIntake()
    async with gateway_running(intake) as gateway:
        begun = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(2)]
        for _, writer in begun:
            writer.write(head(f"content-length: {size}") + b"x")
        await _at_work(gateway, 2)
        large = orjson.dumps({"event": "meeting.started", "filling": "x" * size})
        refused, small = await gateway.post(large), await gateway.post(BODY)
        begun[0][1].close()
        await _at_work(gateway, 1)
        taken = await gateway.post(large)
        begun[1][1].close()
    assert (refused.status, refused.json["status"], refused.headers["retry-after"]) == (503, "overloaded", "2")
    assert (small.status, taken.status) == (200, 200)
    said = [record.__dict__["detail"] for record in caplog.records if record.message == "request.refused"]
    assert said[0] == "too many large bodies are coming in at the same time"


async def test_a_body_of_unknown_length_counts_as_the_largest_and_one_alone_always_may(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("relay.gateway.bodies.MOST", 1)
    chunk = f"{len(BODY):x}\r\n".encode() + BODY + b"\r\n0\r\n\r\n"
    request = head("transfer-encoding: chunked")
    async with gateway_running(ScriptedIntake()) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request)
        await _at_work(gateway, 1)
        second, others, _ = await raw(gateway, request)
        whole, another, _ = await raw(gateway, request + chunk)  # it is here already
        writer.write(chunk)
        first = await reader.readuntil(b"\r\n\r\n")
        for each in (writer, others, another):
            each.close()
    assert [answer.split()[1] for answer in (first, second, whole)] == [b"200", b"503", b"200"]


async def test_a_connection_takes_in_little_for_which_nobody_has_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = 0
    take = Connection.data_received

    def counted(self: Connection, data: bytes) -> None:
        nonlocal taken
        taken += len(data)
        take(self, data)

    monkeypatch.setattr(Connection, "data_received", counted)
    intake = ScriptedIntake()
    intake.hold()
    async with gateway_running(intake) as gateway:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head(f"content-length: {len(BODY)}") + BODY)
        await intake.was_asked()  # while the first is at work, nobody asks for the second
        writer.write(head("content-length: 400000"))
        for _ in range(100):
            writer.write(b"x" * 4000)
            for _ in range(4):
                await asyncio.sleep(0)
        before = taken
        intake.may_commit.set()
        writer.close()
    assert 30_000 < before < 100_000


async def test_the_answer_waits_for_no_sink(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.app.DRAIN", timedelta(seconds=0.1))
    async with FakeHttp(default=Hang()) as receiver:
        sinks = {"crm": {"type": "http", "url": receiver.url, "allow_private": True, "concurrency": 1}}
        async with relay_running(tmp_path, sinks=sinks) as relay:
            answers = [await relay.post(BODY, uuid=str(number), webhook_id=str(number)) for number in range(20)]
            await receiver.wait_for(1)
            backlog = await relay.app.store.backlog()
    assert {answer.status for answer in answers} == {200}
    assert backlog["crm"].pending == 20


async def test_an_unexpected_exception_is_503(caplog: pytest.LogCaptureFixture) -> None:
    async with gateway_running(ScriptedIntake(error=ZeroDivisionError("secret detail"))) as gateway:
        answer = await gateway.post(BODY)
        metrics = gateway.metrics()
    assert (answer.status, answer.json) == (503, {"status": "error"})
    assert answer.headers["retry-after"] == "2"
    assert metrics['relay_requests_total{outcome="error",source="dyte"}'] == 1
    assert "request.crashed" in caplog.messages


# Method, path, encoding


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE"])
async def test_another_method_is_405(method: str) -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        answer = await gateway.request(method, "/webhooks/dyte")
    assert (answer.status, answer.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    ["/", "/webhooks/dyte/", "//webhooks/dyte", "/webhooks//dyte", "/webhooks", "/webhooks/dyte/x", "/Webhooks/dyte",
     "/webhooks/other", "/webhooks/dyte%0a", "/metrics"],
)  # fmt: skip
async def test_another_path_is_404_and_never_a_redirect(path: str) -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        answer, writer, _ = await raw(gateway, head("content-length: 0", path=path))
        writer.close()
        metrics = gateway.metrics()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert metrics['relay_requests_total{outcome="not_found",source="none"}'] == 1


@pytest.mark.parametrize(("header", "told"), [("rtk-signature: eA==", 1), ("dyte-signature: eA==", 1), ("x: y", 0)])
async def test_a_webhook_that_goes_astray_is_told(header: str, told: int, caplog: pytest.LogCaptureFixture) -> None:
    """It is registered at another path, and lost. What strangers ask for is no news."""
    async with gateway_running(ScriptedIntake()) as gateway:
        lines = ["POST /webhooks/s3cret HTTP/1.1", "host: relay", "content-length: 0", header, "", ""]
        answer, writer, _ = await raw(gateway, "\r\n".join(lines).encode())
        writer.close()
    assert answer.startswith(b"HTTP/1.1 404 ")
    refused = [record.__dict__ for record in caplog.records if record.message == "request.refused"]
    assert [(each["source"], each["outcome"]) for each in refused] == [("none", "not_found")] * told
    assert all("`relay webhooks list`" in each["detail"] and "s3cret" not in each["detail"] for each in refused)


@pytest.mark.parametrize("path", ["/webhooks/dyte?x=1", "http://relay/webhooks/dyte"])
async def test_a_query_or_an_absolute_form_changes_nothing(path: str) -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        answer, writer, _ = await raw(gateway, head(f"content-length: {len(BODY)}", path=path) + BODY)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "garbage", "identity, gzip"])
async def test_an_encoded_body_is_refused_unread(encoding: str) -> None:
    intake = ScriptedIntake()
    async with gateway_running(intake) as gateway:
        answer = await gateway.post(b"no gzip at all", headers=signed(BODY) | {"content-encoding": encoding})
    assert (answer.status, intake.admitted) == (415, [])


async def test_identity_is_no_encoding() -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        answer = await gateway.post(BODY, headers=signed(BODY) | {"content-encoding": "identity"})
    assert answer.status == 200


@pytest.mark.parametrize("expected", ["100-continue", "canary-expectation"])
async def test_an_expect_header_changes_nothing(expected: str) -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        lines = (f"expect: {expected}", f"content-length: {len(BODY)}")
        answer, writer, reader = await raw(gateway, head(*lines) + BODY)
        if answer.startswith(b"HTTP/1.1 100 "):
            answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")


# Nothing of the input comes back

CANARY = "canary-31415926"


async def test_no_answer_repeats_what_was_sent() -> None:
    body = orjson.dumps(payload(meeting=CANARY) | {CANARY: CANARY})
    async with gateway_running(ScriptedIntake(), keys=ScriptedKeys(), webhook_ids=["w"]) as without_key:
        answers = [await without_key.post(body, uuid=CANARY, webhook_id=CANARY)]
    async with gateway_running(ScriptedIntake(error=ValueError(CANARY)), options=SMALL) as gateway:
        extra = {"user-agent": CANARY, CANARY: CANARY}
        answers += [
            await gateway.post(body, headers=signed(body, uuid=CANARY, webhook_id=CANARY) | extra),
            await gateway.post(body, headers={"dyte-signature": CANARY} | extra),
            await gateway.post(body, headers=signed(body, key=key_pair("stranger")) | extra),
            await gateway.post(body + b" " * 5000, headers=signed(body) | extra),
            await gateway.post(body, headers=signed(body) | {"content-encoding": CANARY}),
            await gateway.post(body, path=f"/{CANARY}"),
            await gateway.request("PUT", f"/webhooks/dyte?{CANARY}", headers=extra),
        ]
    assert [answer.status for answer in answers] == [503, 503, 401, 401, 413, 415, 404, 405]
    for answer in answers:
        assert CANARY not in (str(answer.headers) + answer.body.decode()).lower()
