"""Where an HTTP sink may connect: the address guard at connect time, names, and certificates."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from relay.errors import DeliveryError, Misconfigured, Unavailable
from relay.model import Reason
from relay.sinks.address import guarded_socket
from relay.sinks.http import HttpOptions, HttpSink
from tests.fakes.delivery import delivery
from tests.fakes.http import Answer, FakeHttp

STARTED = {"event": "meeting.started", "meeting": {"id": "m-1"}}


@pytest.fixture
async def canary() -> AsyncIterator[FakeHttp]:
    async with FakeHttp() as running:
        yield running


async def attempt(url: str, **options: Any) -> str | DeliveryError:
    """A receipt, or the error."""
    sink = HttpSink("crm", HttpOptions.model_validate({"type": "http", "url": url, **options}))
    try:
        return await sink.deliver(delivery(STARTED))
    except DeliveryError as error:
        return error
    finally:
        await sink.close()


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Let every name resolve to these addresses; to none: to nothing. No name server is asked."""

    async def getaddrinfo(_host: Any, port: Any, **_more: Any) -> list[Any]:
        if not addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


def refused(result: str | DeliveryError) -> None:
    assert isinstance(result, Misconfigured), result
    assert (result.failure.reason, result.certain) == (Reason.BLOCKED_ADDRESS, True)
    assert "is not a public address" in result.failure.detail
    assert "allow_private: true" in result.failure.detail


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "0x7f000001", "2130706433", "127.1", "0"]
)
async def test_loopback_is_refused_however_it_is_written(canary: FakeHttp, host: str) -> None:
    refused(await attempt(f"http://{host}:{canary.port}/hooks"))
    assert canary.requests == []


@pytest.mark.parametrize("address", ["10.0.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1"])
def test_no_socket_is_made_for_a_private_address(address: str) -> None:
    with pytest.raises(PermissionError, match="is not a public address"):
        guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)))


def test_a_socket_is_made_for_a_public_address() -> None:
    guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 80))).close()


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]], ids=["one", "several"])
async def test_a_name_that_resolves_to_loopback_is_refused(
    canary: FakeHttp, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    resolving_to(monkeypatch, *addresses)
    refused(await attempt(f"http://innocent.example:{canary.port}/hooks"))
    assert canary.requests == []


async def test_a_redirect_to_loopback_goes_nowhere(canary: FakeHttp) -> None:
    async with FakeHttp(default=Answer(307, headers={"location": canary.url})) as public:
        result = await attempt(public.url, allow_private=True)
    assert isinstance(result, Misconfigured)
    assert result.failure.reason is Reason.REDIRECT
    assert canary.requests == []


async def test_allow_private_allows_it(canary: FakeHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch, "127.0.0.1")
    assert await attempt(f"http://innocent.example:{canary.port}/hooks", allow_private=True) == "204"
    assert canary.requests[0].headers["host"] == f"innocent.example:{canary.port}"


async def test_no_proxy_of_the_environment_is_used(canary: FakeHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeHttp() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert await attempt(f"http://127.0.0.1:{canary.port}/hooks", allow_private=True) == "204"
        assert proxy.requests == []


async def test_a_name_that_does_not_resolve_may_do_so_later(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving_to(monkeypatch)
    result = await attempt("http://nowhere.example/hooks")
    assert isinstance(result, Unavailable)
    assert result.failure.reason is Reason.DNS
    assert "nowhere.example" in result.failure.detail


# Certificates


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_certificate_that_nobody_vouches_for_pauses_the_sink(host: str) -> None:
    async with FakeHttp(tls=True) as untrusted:
        result = await attempt(f"https://{host}:{untrusted.port}/hooks", allow_private=True)
        assert untrusted.requests == []
    assert isinstance(result, Misconfigured)
    assert (result.failure.reason, result.certain) == (Reason.TLS, True)


async def test_https_to_a_plain_server_pauses_the_sink(canary: FakeHttp) -> None:
    result = await attempt(f"https://127.0.0.1:{canary.port}/hooks", allow_private=True)
    assert isinstance(result, Misconfigured)
    assert result.failure.reason is Reason.TLS


# Options that could break a request


@pytest.mark.parametrize(
    "headers",
    [
        {"x": "a\r\nevil: 1"},
        {"x": "a\nb"},
        {"x": "a\0b"},
        {"x": "ü"},
        {"x\r\ny": "a"},
        {"a b": "c"},
        {"": "c"},
        {"Content-Length": "1"},
        {"host": "other"},
        {"ce-id": "mine"},
        {"Webhook-Signature": "mine"},
        {"relay-route": "mine"},
        {"transfer-encoding": "chunked"},
    ],
)
def test_headers_that_would_break_or_forge_a_request_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpOptions.model_validate({"type": "http", "url": "https://crm.example/", "headers": headers})
    assert "evil" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://user:hunter2@crm.example/", "ftp://crm.example/", "crm.example", "https://"])
def test_urls_that_cannot_be_meant_are_refused(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        HttpOptions.model_validate({"type": "http", "url": url})
    assert "hunter2" not in str(caught.value)
