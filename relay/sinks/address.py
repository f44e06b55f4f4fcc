"""Which addresses a sink may connect to: a pure rule, and the socket factory that enforces it.

Checked when a socket is made, after every name was resolved, so that neither a literal address nor a name that changes
its mind (DNS rebinding) gets past it.
"""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

BLOCKED = "the address guard refuses"
"""Marks our errors: connectors join the texts of several addresses, and lose the types."""

_NAT64 = ip_network("64:ff9b::/96")
_NEVER = tuple(
    ip_network(text)
    for text in (
        "192.0.0.0/24",  # protocol assignments; Oracle's cloud has its metadata at 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays
        "168.63.129.16/32",  # Azure's platform, which hands a machine its secrets
        "64:ff9b:1::/48",  # NAT64 of one's own network, which may carry its IPv4 address in any of five places
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
    )
)
"""Ranges that Python 3.11 takes to be global, and where a sink has no business."""


def refusal(text: str) -> str | None:
    """Why a sink must not connect to this address; None where it may.

    `is_global` alone is not enough: it is true for multicast, for 6to4 and NAT64 forms of loopback, and for fec0::/10.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return f"{text!r} is no address"
    for form in _unwrapped(address):
        if not form.is_global or form.is_multicast or form.is_reserved or form.is_unspecified:
            return f"{text} is not a public address"
        if any(form in network for network in _NEVER) or (isinstance(form, IPv6Address) and form.is_site_local):
            return f"{text} is not a public address"
    return None


def _unwrapped(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """The address, or the IPv4 addresses that an IPv6 one carries: the packet ends there."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return list(address.teredo)
    if address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    return [address]


def guarded_socket(info: tuple[Any, ...]) -> socket.socket:
    """A socket for one resolved address (a `getaddrinfo` tuple); raises OSError where the rule forbids it."""
    family, kind, protocol, _, address = info
    reason = refusal(str(address[0]))
    if reason is not None:
        raise PermissionError(errno.EACCES, f"{BLOCKED}: {reason}")
    return socket.socket(family, kind, protocol)
