"""Addresses of webhooks: which are allowed, which are the same, and what is shown of one."""

from __future__ import annotations

import pytest

from relay.registration import public_address, safe_address, same_address
from relay.registration.url import same_host, web_address


@pytest.mark.parametrize(
    ("base", "address"),
    [
        ("https://relay.example", "https://relay.example/webhooks/dyte"),
        ("https://relay.example/", "https://relay.example/webhooks/dyte"),
        ("https://relay.example:8443", "https://relay.example:8443/webhooks/dyte"),
        ("https://relay.example/in", "https://relay.example/in"),
        ("https://relay.example/in/", "https://relay.example/in/"),
    ],
)
def test_the_path_of_a_source_is_added_to_a_bare_host_only(base: str, address: str) -> None:
    assert public_address(base, "/webhooks/dyte") == address


@pytest.mark.parametrize(
    "other",
    [
        "https://a.example/p",
        "HTTPS://A.Example/p",
        "https://a.example:443/p",
        "https://a.example./p",
        "https://a.example/p#x",
    ],
)
def test_forms_of_one_address_are_the_same(other: str) -> None:
    assert same_address("https://a.example/p", other)


@pytest.mark.parametrize(
    "other",
    [
        "http://a.example/p", "https://b.example/p", "https://a.example/P", "https://a.example/p/",
        "https://a.example/p?x", "https://a.example:444/p", "https://a.example:x/p", "", "p",
    ],
)  # fmt: skip
def test_addresses_of_two_things_are_not(other: str) -> None:
    assert not same_address("https://a.example/p", other)


def test_an_empty_path_is_the_root() -> None:
    assert same_address("https://a.example", "https://a.example/")
    assert same_host("https://a.example/p", "https://a.example:443/q")
    assert not same_host("https://a.example/p", "https://b.example/p")


@pytest.mark.parametrize(
    "url", ["https://a.example", "https://a.example:8443/x", "http://127.0.0.1:1/", "http://[::1]"]
)
def test_https_or_loopback_may_be_sent_to(url: str) -> None:
    assert web_address(url) == url


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("a.example", "is not a URL"),
        ("ftp://a.example", "is not a URL"),
        ("https://", "is not a URL"),
        ("https://a.example:0", "is not a URL"),
        ("https://a.example/ü", "is not a URL"),
        ("https://a.example/a b", "is not a URL"),
        ("http://a.example", "must start with https://: it carries the key"),
        ("https://me:c4n4ry@a.example", "must hold no user"),
        ("https://a.example/?c4n4ry", "query"),
        ("https://a.example/#c4n4ry", "fragment"),
    ],
)
def test_others_may_not_and_are_not_repeated(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as raised:
        web_address(url, what="carries the key")
    assert "c4n4ry" not in str(raised.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://relay.example/webhooks/dyte", "https://relay.example/webhooks/dyte"),
        ("https://relay.example:8443/livestreaming-webhooks", "https://relay.example:8443/livestreaming-webhooks"),
        ("https://relay.example/webhooks/4f1c0a9e7b5d", "https://relay.example/webhooks/[hidden]"),
        ("https://relay.example/aVeryLongPartWithoutAnyDigits", "https://relay.example/[hidden]"),
        ("https://relay.example/hook?token=abc", "https://relay.example/hook?[hidden]"),
        ("https://me:secret@relay.example/hook#abc", "https://[hidden]@relay.example/hook"),
        ("ftp://me:secret@relay.example/hook", "[hidden]"),
        ("nonsense", "[hidden]"),
    ],
)
def test_what_nobody_should_guess_is_not_shown(url: str, shown: str) -> None:
    assert safe_address(url) == shown
