"""What goes wrong between the HTTP sink and its service, and what is said of it: the host, never the whole url."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.errors import DeliveryError, Misconfigured, Unavailable
from relay.model import Reason
from relay.sinks import address
from relay.sinks.http import MAX_RETRY_AFTER, HttpOptions, HttpSink, parse_retry_after
from tests.fakes.delivery import delivery
from tests.fakes.http import WAIT, Answer, FakeHttp
from tests.fakes.wire import Cut, Fault, ResetBefore, Wire

STARTED = {"event": "meeting.started", "meeting": {"id": "m-1"}}
CANARY = "canary-in-the-url"


def sink(base: str, **options: Any) -> HttpSink:
    chosen = {"type": "http", "url": f"{base}/{CANARY}?token={CANARY}", "allow_private": True, **options}
    return HttpSink("crm", HttpOptions.model_validate(chosen))


async def failure(base: str, **options: Any) -> DeliveryError:
    """The error of one attempt, which says nothing of the path or the query."""
    used = sink(base, **options)
    with pytest.raises(DeliveryError) as raised:
        async with asyncio.timeout(WAIT):
            await used.deliver(delivery(STARTED))
    await used.close()
    assert CANARY not in raised.value.failure.detail
    return raised.value


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: the system answers no further connection request."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            caller = stack.enter_context(socket.socket())
            caller.settimeout(0)
            caller.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def test_a_service_that_accepts_no_connection_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.sinks.http.CONNECT_TIME", 0.2)
    with deaf_port() as port:
        error = await failure(f"http://127.0.0.1:{port}")
    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.CONNECT
    assert "within 0.2 s" in error.failure.detail


async def test_a_refused_connection_names_the_host() -> None:
    async with FakeHttp() as gone:
        pass
    error = await failure(gone.url)
    assert isinstance(error, Unavailable)
    assert f"127.0.0.1:{gone.port}" in error.failure.detail


async def test_a_certificate_failure_names_the_host() -> None:
    async with FakeHttp(tls=True) as untrusted:
        error = await failure(untrusted.url)
    assert isinstance(error, Misconfigured)
    assert "127.0.0.1" in error.failure.detail
    assert "certificate" in error.failure.detail


@pytest.mark.parametrize("fault", [Cut(after=100), ResetBefore()], ids=repr)
async def test_a_handshake_that_breaks_off_may_go_well_the_next_time(fault: Fault) -> None:
    """A service that is being started again says nothing about its certificate: no reason to wait for a person."""
    async with FakeHttp(tls=True) as service, Wire(service.port) as wire:
        await wire.switch(fault)
        error = await failure(f"https://{wire.address}")
    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.CONNECT
    assert error.failure.detail.removeprefix(f"no connection: {wire.address}: ").strip().startswith(("Conn", "[Errno"))


@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
async def test_a_host_that_can_be_no_name_pauses_the_sink(host: str) -> None:
    error = await failure(f"http://{host}")
    assert isinstance(error, Misconfigured)
    assert error.certain


async def test_one_refused_address_among_others_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of both families come joined into one text, without type or number."""
    really = address.refusal
    monkeypatch.setattr(address, "refusal", lambda text: None if text == "127.0.0.1" else really(text))

    async def getaddrinfo(_host: Any, port: Any, **_more: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", port, 0, 0)),
        ]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with FakeHttp() as gone:
        pass
    error = await failure(f"http://both.example:{gone.port}", allow_private=False)
    assert isinstance(error, Misconfigured)
    assert error.failure.reason is Reason.BLOCKED_ADDRESS
    assert "::1 is not a public address" in error.failure.detail
    assert error.failure.detail.endswith("set allow_private: true if this is meant")


@contextlib.asynccontextmanager
async def answering(text: bytes) -> AsyncIterator[str]:
    """A server that answers each request with these bytes and hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 2",
        b"canary-in-the-url no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"canary-in-the-url" * 5000 + b"\r\n\r\n",
    ],
    ids=["nothing", "half a line", "no HTTP", "endless header"],
)
async def test_an_answer_that_is_none_may_have_delivered_and_is_not_quoted(text: bytes) -> None:
    async with answering(text) as base:
        error = await failure(base)
    assert isinstance(error, Unavailable)
    assert error.failure.reason is Reason.RESET


async def test_a_status_counts_even_if_its_body_breaks_off() -> None:
    async with answering(b"HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\nhalf") as base:
        used = sink(base)
        assert await used.deliver(delivery(STARTED)) == "202"
        await used.close()


async def test_cookies_are_not_kept() -> None:
    async with FakeHttp(default=Answer(200, headers={"set-cookie": "session=1; path=/"})) as service:
        used = sink(f"http://localhost:{service.port}")  # the client's own jar takes none from a bare address
        await used.deliver(delivery(STARTED))
        await used.deliver(delivery(STARTED))
        await used.close()
        assert ["cookie" in request.headers for request in service.requests] == [False, False]


async def test_more_at_once_than_connections_wait_their_turn() -> None:
    async with FakeHttp() as service:
        used = sink(service.url, concurrency=3)
        await asyncio.gather(*(used.deliver(delivery(STARTED)) for _ in range(30)))
        await used.close()
        assert len(service.requests) == 30
        assert service.connections <= 3


# Pure parts, for any input

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DATES = st.datetimes().map(lambda moment: f"{moment:%a, %d %b} {moment.year:04} {moment:%H:%M:%S} GMT")


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,5} \d\d:\d\d:\d\d [+-]\d{1,9}") | DATES)
def test_any_retry_after_is_none_or_sane(text: str) -> None:
    wait = parse_retry_after(text, now=NOW)
    assert wait is None or timedelta(0) <= wait <= MAX_RETRY_AFTER


@given(st.text() | st.ip_addresses().map(str))
def test_the_guard_has_an_answer_for_any_text(text: str) -> None:
    assert (
        address.refusal(text) is None
        or text in str(address.refusal(text))
        or "no address" in str(address.refusal(text))
    )


PRIVATE = st.ip_addresses(v=4, network="127.0.0.0/8") | st.ip_addresses(v=4, network="10.0.0.0/8")
PRIVATE |= st.ip_addresses(v=4, network="169.254.0.0/16") | st.ip_addresses(v=4, network="100.64.0.0/10")
PRIVATE |= st.ip_addresses(v=4, network="224.0.0.0/3") | st.ip_addresses(v=4, network="192.88.99.0/24")


@given(PRIVATE)
def test_a_private_address_is_refused_in_every_form_that_carries_it(private: IPv4Address) -> None:
    number = int(private)
    teredo = 0x2001_0000 << 96 | 0x0808_0808 << 64 | (number ^ 0xFFFF_FFFF)
    forms = [
        private,
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(number),
        IPv6Address(0x2002 << 112 | number << 80),
        IPv6Address(0x0064_FF9B << 96 | number),
        IPv6Address(teredo),
    ]
    assert [form for form in forms if address.refusal(str(form)) is None] == []


@pytest.mark.parametrize(
    "text",
    ["::", "::1", "fe80::1%eth0", "fec0::1", "fd00::1", "ff02::1", "2001:db8::1", "3fff::1", "5f00::1",
     "64:ff9b:1:7f00:0:100:808:808", "0.0.0.0", "255.255.255.255", "192.0.2.1", "198.18.0.1", "", "name.example"],
)  # fmt: skip
def test_these_are_refused(text: str) -> None:
    assert address.refusal(text) is not None


@pytest.mark.parametrize("text", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_ones_are_not(text: str) -> None:
    assert address.refusal(text) is None
