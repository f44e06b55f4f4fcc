"""Who may use the API: what cannot be had over a loopback connection, and what it remembers."""

from __future__ import annotations

import pytest
from aiohttp import HttpVersion10, HttpVersion11

from relay.admin.access import _MOST_ADDRESSES, ATTEMPTS, WINDOW, Access
from relay.options import Secret


class Request:
    """As much of a request as the rule looks at."""

    def __init__(self, remote: str | None, method: str = "GET", **headers: str) -> None:
        self.remote = remote
        self.version = HttpVersion11
        self.method = method
        self.headers = {"host": "127.0.0.1"} | headers
        self.content_type = headers.get("content-type", "")


def status(access: Access, request: Request) -> int | None:
    refusal = access.judge(request)  # type: ignore[arg-type]
    return None if refusal is None else refusal.status


@pytest.mark.parametrize("remote", ["127.0.0.1", "127.8.9.1", "::1"])
def test_without_a_token_loopback_is_let_in(remote: str) -> None:

    assert status(Access(None, now=lambda: 0.0), Request(remote)) is None


@pytest.mark.parametrize("remote", ["10.0.0.1", "192.0.2.1", "fe80::1%eth0", "", None, "@socket"])
def test_without_a_token_nobody_else_is(remote: str | None) -> None:
    assert status(Access(None, now=lambda: 0.0), Request(remote)) == 403


def test_each_address_has_its_own_guesses_and_they_are_forgotten() -> None:
    now = 0.0
    access = Access(Secret("right"), now=lambda: now)
    for _ in range(ATTEMPTS):
        assert status(access, Request("192.0.2.1", authorization="Bearer wrong")) == 401
    assert status(access, Request("192.0.2.1", authorization="Bearer wrong")) == 429
    assert status(access, Request("192.0.2.1")) == 429
    assert status(access, Request("192.0.2.1", authorization="Bearer right")) is None
    assert status(access, Request("192.0.2.2", authorization="Bearer right")) is None
    now = WINDOW
    assert status(access, Request("192.0.2.1", authorization="Bearer wrong")) == 401


def test_without_a_token_what_speaks_as_proxies_do_is_not_let_in() -> None:
    request = Request("127.0.0.1")
    request.version = HttpVersion10
    assert status(Access(None, now=lambda: 0.0), request) == 403
    assert status(Access(Secret("right"), now=lambda: 0.0), Request("127.0.0.1", authorization="Bearer right")) is None


def test_no_token_at_all_is_no_guess() -> None:
    access = Access(Secret("right"), now=lambda: 0.0)
    assert {status(access, Request("192.0.2.1")) for _ in range(2 * ATTEMPTS)} == {401}


def test_what_it_remembers_is_bounded() -> None:
    access = Access(Secret("right"), now=lambda: 0.0)
    for number in range(_MOST_ADDRESSES + 50):
        status(access, Request(f"2001:db8::{number:x}", authorization="Bearer wrong"))
    assert len(access._wrong) == _MOST_ADDRESSES
