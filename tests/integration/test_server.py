"""What must not depend on a client's good will: slow headers, too many connections, and what is no HTTP at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from email.utils import parsedate_to_datetime

import orjson
import pytest

from relay.gateway.options import GatewayOptions
from relay.server import Connection
from tests.fakes.gateway import GatewayServer, ScriptedIntake, gateway_running
from tests.fakes.http import WAIT
from tests.running import payload, signed, until

BODY = b'{"event":"meeting.started"}'
CANARY = b"c4n4ry"


@asynccontextmanager
async def connected(gateway: GatewayServer) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def webhook(uuid: str) -> bytes:
    """A whole genuine request."""
    lines = ["POST /webhooks/dyte HTTP/1.1", "host: relay", f"content-length: {len(BODY)}"]
    lines += [f"{name}: {text}" for name, text in signed(BODY, uuid=uuid).items()]
    return "\r\n".join([*lines, "", ""]).encode() + BODY


async def answer(reader: asyncio.StreamReader) -> bytes:
    """One answer, read by its content-length."""
    async with asyncio.timeout(WAIT):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return head + await reader.readexactly(length)


async def end(reader: asyncio.StreamReader) -> bytes:
    """Everything up to the end of the connection."""
    async with asyncio.timeout(WAIT):
        with suppress(ConnectionError):
            return await reader.read()
    return b""


def closed(gateway: GatewayServer, reason: str) -> float:
    return gateway.metrics()[f'relay_connections_closed_total{{reason="{reason}"}}']


@pytest.mark.parametrize("before", [0, 1, 2], ids=["first", "second", "third"])
async def test_headers_that_do_not_end_are_cut_off_on_each_request_of_a_connection(
    monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    monkeypatch.setattr("relay.listening._HEADER_TIME", 0.2)
    async with gateway_running(ScriptedIntake()) as gateway, connected(gateway) as (reader, writer):
        for number in range(before):
            writer.write(webhook(f"uuid-{number}"))
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        dripping = asyncio.create_task(drip(writer))
        assert await end(reader) == b"", "no answer that could be taken for a refusal: the sender shall try again"
        await dripping
        assert closed(gateway, "slow_headers") == 1


async def drip(writer: asyncio.StreamWriter) -> None:
    """A request's headers, a byte now and then: each of them comes in time, the whole does not."""
    with suppress(ConnectionError):
        for byte in webhook("slow")[:1000]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.02)
    assert writer.is_closing() or writer.transport.is_closing()


async def test_a_crowd_that_never_ends_its_headers_keeps_nobody_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.listening._HEADER_TIME", 1.0)
    crowd = 300
    async with gateway_running(ScriptedIntake()) as gateway, AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(connected(gateway)) for _ in range(crowd)]
        for _, writer in slow:
            writer.write(b"POST /webhooks/dyte HTTP/1.1\r\nhost: relay\r\nx: ")
        answers = [(await gateway.post(payload(meeting=f"m-{number}"))).status for number in range(50)]
        assert answers == [200] * 50
        assert [await end(reader) for reader, _ in slow] == [b""] * crowd
        assert closed(gateway, "slow_headers") == crowd
        assert (await gateway.post(payload())).status == 200


async def test_a_connection_may_idle_between_requests_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.listening._HEADER_TIME", 0.05)
    monkeypatch.setattr("relay.listening._KEEP_ALIVE", 0.5)
    async with gateway_running(ScriptedIntake()) as gateway, connected(gateway) as (reader, writer):
        await asyncio.sleep(0.2)  # four times what headers may take; but there are none yet
        writer.write(webhook("one"))
        assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.2)
        writer.write(webhook("two"))
        assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        assert await end(reader) == b""
        assert closed(gateway, "slow_headers") == 0


async def test_requests_may_come_one_behind_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.listening._HEADER_TIME", 0.2)
    intake = ScriptedIntake()
    intake.hold()
    async with gateway_running(intake) as gateway, connected(gateway) as (reader, writer):
        writer.write(webhook("one") + webhook("two") + webhook("three"))
        await intake.was_asked()
        await asyncio.sleep(0.3)  # longer than headers may take: these have come long ago
        intake.may_commit.set()
        for _ in range(3):
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        assert closed(gateway, "slow_headers") == 0


async def test_who_reads_no_answers_is_cut_off_and_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.listening._ANSWER_TIME", 0.3)
    monkeypatch.setattr(Connection, "connection_made", _with_little_room)
    options = GatewayOptions(max_connections=3)
    async with gateway_running(ScriptedIntake(), options=options) as gateway:
        deaf = [_deaf(gateway.port) for _ in range(3)]
        try:
            await asyncio.to_thread(_fill, deaf)

            async def cut_off() -> bool:
                return closed(gateway, "unread") == 3

            await until(cut_off, "end of those who do not read")
            assert (await gateway.post(payload())).status == 200
        finally:
            for each in deaf:
                each.close()


_connection_made = Connection.connection_made


def _with_little_room(self: Connection, transport: asyncio.BaseTransport) -> None:
    """The system takes megabytes for a client that reads nothing; here it takes little, so that it is soon full."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    _connection_made(self, transport)


def _deaf(port: int) -> socket.socket:
    """A client that will read nothing, and has hardly any room for what it does not read."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    made.connect(("127.0.0.1", port))
    made.settimeout(2.0)
    return made


def _fill(clients: list[socket.socket]) -> None:
    """Ask, and never listen, until nothing more is taken."""
    for client in clients:
        with suppress(OSError):
            for _ in range(200):
                client.sendall(b"GET /x HTTP/1.1\r\nhost: relay\r\n\r\n" * 100)


async def test_many_requests_one_behind_the_other_are_all_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.listening._ANSWER_TIME", 0.3)
    async with gateway_running(ScriptedIntake()) as gateway, connected(gateway) as (reader, writer):
        writer.write(b"GET /x HTTP/1.1\r\nhost: relay\r\n\r\n" * 300)
        for _ in range(300):
            assert (await answer(reader)).startswith(b"HTTP/1.1 404 ")
        assert closed(gateway, "unread") == 0


async def test_one_connection_too_many_is_closed_and_the_others_are_served() -> None:
    options = GatewayOptions(max_connections=3)
    async with gateway_running(ScriptedIntake(), options=options) as gateway:
        async with connected(gateway) as (reader, writer), connected(gateway), connected(gateway):
            writer.write(webhook("one"))
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
            async with connected(gateway) as (refused, _):
                assert await end(refused) == b""
            assert closed(gateway, "too_many") == 1
            writer.write(webhook("two"))
            assert (await answer(reader)).startswith(b"HTTP/1.1 200 ")
        assert (await gateway.post(payload())).status == 200, "there is room again"


BEGUN = b"POST /webhooks/dyte HTTP/1.1\r\nhost: a\r\n"
MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01" + CANARY + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM" + CANARY + b"\r\n\r\n",
    "method": CANARY + b"(/webhooks HTTP/1.1\r\nhost: relay\r\n\r\n",
    "version": b"GET / HTTP/" + CANARY + b"\r\nhost: relay\r\n\r\n",
    "no host": b"POST /" + CANARY + b" HTTP/1.1\r\n\r\n",
    "two hosts": BEGUN + b"host: " + CANARY + b"\r\n\r\n",
    "two lengths": BEGUN + b"content-length: 1\r\ncontent-length: 2\r\nx: " + CANARY + b"\r\n\r\nab",
    "length and chunks": BEGUN + b"content-length: 6\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n" + CANARY,
    "negative length": BEGUN + b"content-length: -1\r\n\r\n" + CANARY,
    "folded header": BEGUN + b"x: a\r\n " + CANARY + b"\r\n\r\n",
    "space before the colon": BEGUN + b"content-length : 3\r\n\r\n" + CANARY,
    "NUL": BEGUN + b"x: \x00" + CANARY + b"\r\n\r\n",
    "bare LF smuggled": BEGUN + b"transfer-encoding: " + CANARY + b"\r\n\r\n0\r\n\r\n",
    "long header": BEGUN + b"x: " + CANARY * 2000 + b"\r\n\r\n",
    "many headers": BEGUN + b"x: " + CANARY + b"\r\n" + b"x: y\r\n" * 200 + b"\r\n",
    "bad chunk": BEGUN + b"dyte-signature: YQ==\r\ntransfer-encoding: chunked\r\n\r\n" + CANARY + b"\r\n\r\n",
}


@pytest.mark.parametrize("sent", [pytest.param(sent, id=name) for name, sent in MALFORMED.items()])
async def test_what_is_no_request_gets_a_few_words_and_no_traceback(
    sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    intake = ScriptedIntake()
    async with gateway_running(intake) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(sent)
            told = await end(reader)
        assert (await gateway.post(payload())).status == 200
    first = told.partition(b"\r\n")[0].split(b" ")[1]
    assert first in (b"400", b"401", b"404", b"503"), told
    assert CANARY not in told
    assert b"python" not in told.lower()
    assert len(intake.admitted) == 1
    assert CANARY.decode() not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


async def test_what_is_no_request_is_counted() -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(MALFORMED["two lengths"])
            told = await end(reader)
        assert told.partition(b" ")[2].startswith(b"400 ")
        assert told.endswith(b'\r\n\r\n{"status":"malformed"}')
        assert gateway.metrics()['relay_requests_total{outcome="malformed",source="none"}'] == 1


async def test_no_answer_names_a_version() -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        for found in (await gateway.post(payload()), await gateway.request("GET", "/x")):
            assert found.headers["server"] == "dyte-relay"


# The usual answer


def parsed(whole: bytes) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """Status line, headers in lower case, body."""
    head, _, body = whole.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = [line.split(b": ", 1) for line in lines]
    return status, {name.lower(): value for name, value in pairs}, body


async def test_the_answer_in_one_piece_is_what_aiohttp_writes() -> None:
    async with gateway_running(ScriptedIntake()) as gateway:
        async with connected(gateway) as (reader, writer):
            writer.write(webhook("one") + webhook("two"))
            usual = [parsed(await answer(reader)) for _ in range(2)]
        async with connected(gateway) as (reader, writer):
            writer.write(webhook("three").replace(b"host: relay", b"host: relay\r\nconnection: close"))
            status, headers, body = parsed(await answer(reader))
            assert await end(reader) == b""
    assert headers.pop(b"connection") == b"close"
    for got_status, got_headers, got_body in usual:
        assert got_status == status
        assert got_headers.keys() == headers.keys()
        assert {name: got_headers[name] for name in headers if name != b"date"} == {
            name: value for name, value in headers.items() if name != b"date"
        }
        assert parsedate_to_datetime(got_headers[b"date"].decode()).tzinfo is not None
        assert len(got_body) == len(body) == int(headers[b"content-length"])
        assert orjson.loads(got_body).keys() == orjson.loads(body).keys()
