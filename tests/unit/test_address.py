"""Which addresses a sink may connect to."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.sinks.address import BLOCKED, guarded_socket, refusal

ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "172.15.255.255",
    "172.32.0.1",
    "192.167.255.255",
    "100.63.255.255",
    "100.128.0.1",
    "198.17.255.255",
    "198.20.0.1",
    "223.255.255.254",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "::ffff:8.8.8.8",  # IPv4 in an IPv6 coat
    "2002:808:808::1",  # 6to4 of 8.8.8.8
    "64:ff9b::8.8.8.8",  # NAT64 of 8.8.8.8
]

REFUSED = [
    # this host, this network
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "::",
    "::1",
    # private networks
    "10.0.0.1",
    "10.255.255.255",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.255.255",
    "100.64.0.1",  # carrier-grade NAT
    "100.127.255.255",
    "fc00::1",
    "fdff::1",
    "fec0::1",
    # link-local and cloud metadata
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    # multicast, broadcast, reserved
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "ff02::1",
    "ff0e::1",
    # documentation, benchmarks, protocol assignments
    "192.0.0.8",
    "192.0.2.1",
    "198.51.100.7",
    "203.0.113.9",
    "198.18.0.1",
    "198.19.255.255",
    "192.88.99.1",
    "100::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    # IPv4 that travels inside IPv6
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "::ffff:169.254.169.254",
    "::ffff:168.63.129.16",
    "::ffff:0:127.0.0.1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:c0a8:101::1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "64:ff9b:1:7f00:0:100:808:808",
    "2001:0:7f00:1:0:0:f7f7:f7f7",  # Teredo: its server is 127.0.0.1
    "2001:0:808:808:0:0:80ff:fffe",  # Teredo: its client is 127.0.0.1
    # a zone does not change what the address is
    "127.0.0.1%lo",
    "::1%0",
]

GARBAGE = [
    "",
    " ",
    "%eth0",
    "localhost",
    "example.com",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.01",
    "1.2.3.4.5",
    "256.1.1.1",
    "8.8.8.8/32",
    " 8.8.8.8",
    "8.8.8.8\n",
    "１２７.0.0.1",
    "٨.٨.٨.٨",
    "[::1]",
    ":::",
    "1::2::3",
    "::ffff:8.8.8.8.8",
    "\ud800",
    "8.8.8.8\x00",
]


@pytest.mark.parametrize("text", ALLOWED)
def test_a_public_address_may_be_reached(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize("text", REFUSED)
def test_any_other_address_is_refused_and_named(text: str) -> None:
    assert refusal(text) == f"{text} is not a public address"


@pytest.mark.parametrize("text", GARBAGE)
def test_what_is_no_address_is_refused(text: str) -> None:
    assert refusal(text) == f"{text!r} is no address"


@given(st.ip_addresses(v=4, network="127.0.0.0/8") | st.ip_addresses(v=4, network="10.0.0.0/8"))
def test_no_coat_hides_a_private_address(inner: object) -> None:
    first, second, third, fourth = str(inner).split(".")
    groups = f"{int(first) << 8 | int(second):x}:{int(third) << 8 | int(fourth):x}"
    for coat in (f"::ffff:{inner}", f"::{inner}", f"64:ff9b::{inner}", f"2002:{groups}::1", f"2001:0:{groups}::1"):
        assert refusal(coat) is not None, coat


@given(st.text())
def test_the_rule_is_total(text: str) -> None:
    reason = refusal(text)
    assert reason is None or text in reason or repr(text) in reason


def test_the_socket_of_a_refused_address_is_never_made() -> None:
    with pytest.raises(OSError, match=f"{BLOCKED}: 127.0.0.1 is not a public address"):
        guarded_socket((socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80)))


def test_the_socket_of_a_public_address_is_of_the_kind_that_was_asked_for() -> None:
    with guarded_socket(
        (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("2606:4700::1", 443, 0, 0))
    ) as made:
        assert (made.family, made.type, made.proto) == (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP)


def test_an_address_that_is_no_text_is_refused() -> None:
    """Python built without IPv6 answers with the address in bytes."""
    with pytest.raises(OSError, match="is no address"):
        guarded_socket((socket.AF_INET6, socket.SOCK_STREAM, 0, "", (10, b"\x00" * 24)))
