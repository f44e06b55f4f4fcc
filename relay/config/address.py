"""Addresses as relay.yaml writes them: `host:port`, and whether a host is this machine."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

from relay.model import value
from relay.options import Unfit

_LISTEN = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[A-Za-z0-9._-]+)):(?P<port>[0-9]{1,5})", re.ASCII)
_HOW = "write `host:port`, for instance 127.0.0.1:8080 or [::1]:8080"
_ANY = {"0.0.0.0", "::"}  # noqa: S104  (compared with, not bound to)
_LOCALHOST = {"127.0.0.1", "::1"}


@value
class Address:
    """Where to listen."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    """0 takes a free one."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def clashes(self, other: Address) -> bool:
        """Whether both cannot be listened on by one process."""
        if self.port != other.port or self.port == 0:
            return False
        mine, theirs = _hosts(self.host), _hosts(other.host)
        return bool(mine & theirs) or _covers(mine, theirs) or _covers(theirs, mine)


def parse_address(text: str) -> Address:
    """`host:port` or `[v6]:port`. Raises ValueError, without the text, with what to write instead."""
    match = _LISTEN.fullmatch(text)
    if match is None:
        raise Unfit(f"is no address to listen on; {_HOW}")
    if int(match["port"]) > 65535:
        raise Unfit("has a port above 65535; take one between 1 and 65535, or 0 for a free one")
    if match["v6"] is None:
        return Address(host=_checked_v4(match["host"]), port=int(match["port"]))
    try:
        return Address(host=str(IPv6Address(match["v6"])), port=int(match["port"]))
    except ValueError as error:
        raise Unfit(f"has no IPv6 address in its brackets; {_HOW}") from error


def is_loopback(host: str) -> bool:
    """Whether a host can only be this machine."""
    address = _ip(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


def is_private(host: str) -> bool:
    """Whether a host is written as an address that the public network does not have."""
    address = _ip(host)
    return host.lower() == "localhost" if address is None else not address.is_global


def split_url(text: str) -> SplitResult | None:
    """The parts of a URL that has a host; None where it is none."""
    try:
        parts = urlsplit(text)
        return parts if parts.hostname and (parts.port is None or parts.port > 0) else None
    except ValueError:
        return None


def _checked_v4(host: str) -> str:
    """A host of digits and dots must be an address: `127.1` and `300.0.0.1` are slips."""
    if re.fullmatch(r"[0-9.]+", host) and _ip(host) is None:
        raise Unfit(f"has a host that is no IPv4 address; {_HOW}")
    return host


def _ip(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _hosts(host: str) -> set[str]:
    return _LOCALHOST if host.lower() == "localhost" else {host.lower()}


def _covers(wide: set[str], narrow: set[str]) -> bool:
    """Whether `0.0.0.0` or `::` is in one set, and an address of its family in the other."""
    return any((host == "::") == (":" in other) for host in wide & _ANY for other in narrow)
