"""What relay.yaml shows to the network: addresses to listen on, paths of sources, URLs of others."""

from __future__ import annotations

from collections.abc import Sequence

from relay.admin import AdminOptions
from relay.config.address import Address, is_loopback, is_private, parse_address, split_url
from relay.config.outline import Outline, Part
from relay.config.problems import Findings, Path, Place, listed
from relay.gateway.options import GatewayOptions
from relay.registration.url import public_address, same_address


def check_surface(outline: Outline, findings: Findings) -> None:
    """Errors and warnings about addresses, paths and URLs."""
    _listen(outline, findings)
    _paths(outline.sources.parts, findings)
    for source in outline.sources.parts:
        _key_url(source, findings)
    _public_urls(outline.sources.parts, findings)
    for sink in outline.sinks.parts:
        _http_url(sink, findings)


def _listen(outline: Outline, findings: Findings) -> None:
    gateway = _address(outline.gateway, GatewayOptions().listen, findings)
    admin = _address(outline.admin, AdminOptions().listen, findings)
    if gateway is None or admin is None or not gateway.clashes(admin):
        return
    part = outline.admin if outline.admin.has("listen") else outline.gateway
    place, path = _at(part, "listen")
    findings.error(place, path, "gateway and admin listen on the same address", "give one of them another port")


def _address(part: Part, default: str, findings: Findings) -> Address | None:
    text = part.text("listen")
    if text is None:
        return None if part.has("listen") else parse_address(default)
    try:
        return parse_address(text.text)
    except ValueError as error:
        message, _, mend = str(error).partition("; ")
        findings.error(text.place, text.path, message, mend)
        return None


def _at(part: Part, key: str) -> tuple[Place, Path]:
    text = part.text(key)
    return (part.place, (*part.path, key)) if text is None else (text.place, text.path)


def _paths(sources: Sequence[Part], findings: Findings) -> None:
    taken: dict[str, Part] = {}
    for source in sources:
        text = source.text("path")
        if text is None and source.has("path"):
            continue
        path = f"/webhooks/{source.name}" if text is None else text.text
        if (other := taken.setdefault(path, source)) is not source:
            place, key = _at(source, "path")
            message = f"is the path of source {listed([other.name])} too"
            findings.error(place, key, message, "give each source a path of its own")


def _public_urls(sources: Sequence[Part], findings: Findings) -> None:
    """One address can be registered for one source only; the sender is out on the public network."""
    taken: list[tuple[str, Part]] = []
    for source in sources:
        text, path = source.text("public_url"), source.text("path")
        parts = split_url(text.text) if text is not None else None
        if text is None or parts is None:
            continue
        address = public_address(text.text, f"/webhooks/{source.name}" if path is None else path.text)
        others = [other.name for known, other in taken if same_address(known, address)]
        taken.append((address, source))
        if others:
            message = f"is the public address of source {listed(others[:1])} too"
            findings.error(text.place, text.path, message, "give each source an address of its own")
        if is_private(parts.hostname or ""):
            message = "is a private address, which the sender cannot reach"
            findings.warn(text.place, text.path, message, "write the address of your proxy: `https://host`")


def _key_url(source: Part, findings: Findings) -> None:
    text = source.text("public_key_url")
    if text is None:
        return
    parts = split_url(text.text)
    if parts is None or parts.scheme not in ("https", "http"):
        findings.error(text.place, text.path, "is not a URL", "write `https://host/path`")
    elif parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        mend = "write `https://…`; plain http is for loopback"
        findings.error(text.place, text.path, "would fetch the key over plain http, where anybody can swap it", mend)


def _http_url(sink: Part, findings: Findings) -> None:
    kind, text = sink.text("type"), sink.text("url")
    parts = split_url(text.text) if text is not None else None
    if kind is None or kind.text != "http" or text is None or parts is None:
        return
    host = parts.hostname or ""
    if parts.scheme == "http" and not is_loopback(host):
        findings.warn(text.place, text.path, "sends events over plain http, readable on the way", "write `https://…`")
    if is_private(host) and not sink.has("allow_private"):
        message = "is a private address, which the sink refuses to reach"
        findings.warn(text.place, text.path, message, "add `allow_private: true`")
