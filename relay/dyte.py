"""The sender's protocol, without I/O: read a request's headers, verify its signature, make an event of its body.

Facts: https://docs.dyte.io/guides/capabilities/webhooks/signatures and
https://developers.cloudflare.com/realtime/realtimekit/webhooks/.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from relay.model import UNREADABLE, Event, value
from relay.payload import Defect, Payload, decode, find
from relay.ports import Signer

FAMILIES = ("dyte", "rtk")
"""Prefixes of the headers `…-signature`, `…-uuid` and `…-webhook-id`; whether one request may carry both is unknown."""

PROVIDER_KEY_URLS = {
    "dyte": "https://api.dyte.io/.well-known/webhooks.json",
    "realtimekit": "https://api.realtime.cloudflare.com/.well-known/webhooks.json",
}

ONCE_ONLY_TYPES = frozenset(
    {
        "meeting.started",
        "meeting.ended",
        "meeting.participantJoined",
        "meeting.participantLeft",
        "meeting.chatSynced",
        "meeting.transcript",
        "meeting.summary",
    }
)
"""Types whose body names its occurrence (a session, a peer), so that the same bytes are the same event. A livestream
that goes LIVE, IDLE, LIVE repeats its body honestly, a resumed recording repeats RECORDING, and of unknown types
nothing is known; a repeat of those is always a new event."""

_FAMILY_HEADERS = tuple(
    (family, f"{family}-signature", f"{family}-uuid", f"{family}-webhook-id") for family in FAMILIES
)
_SIGNING_HEADERS = frozenset(name for _, *names in _FAMILY_HEADERS for name in names)
KEPT_HEADERS = ("content-type", "user-agent")
"""Those of a request that are worth keeping."""
_IDENTIFIER = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_TYPE = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)


class MalformedSignature(ValueError):
    """The signature headers are not what a sender writes: missing, given twice, or not base64."""


@value
class Signature:
    """One signature and the ids that came with it, all from one header family."""

    family: str
    bytes: bytes
    uuid: str | None
    webhook_id: str | None


def read_signatures(headers: Iterable[tuple[str, str]]) -> Sequence[Signature]:
    """The signatures of a request, one for each header family that it carries.

    Raises:
        MalformedSignature: there is none, one is given twice, or one is not strict base64.
    """
    single: dict[str, str] = {}
    repeated: set[str] = set()
    for name, text in headers:
        if (lower := name.lower()) in _SIGNING_HEADERS:
            if lower in single:
                repeated.add(lower)
            single[lower] = text
    found = []
    for family, signed, uuid, webhook_id in _FAMILY_HEADERS:
        if signed not in single:
            continue
        if signed in repeated:
            raise MalformedSignature(f"{signed} is given more than once")
        for name in repeated & {uuid, webhook_id}:
            del single[name]
        found.append(
            Signature(
                family=family,
                bytes=_decode(single[signed]),
                uuid=_identifier(single.get(uuid)),
                webhook_id=_identifier(single.get(webhook_id)),
            )
        )
    if not found:
        raise MalformedSignature("the request carries no signature")
    return found


def verify(body: bytes, signatures: Sequence[Signature], keys: Sequence[Signer]) -> Signature | None:
    """The first signature that one of the keys made over exactly these bytes; None where there is none."""
    for signature in signatures:
        if any(key.verify(body, signature.bytes) for key in keys):
            return signature
    return None


def parse(
    *,
    event_id: str,
    source: str,
    body: bytes,
    signature: Signature,
    headers: Iterable[tuple[str, str]],
    received_at: datetime,
) -> Event:
    """Make an event of a verified request. Total: whatever the body is, there is an event for it."""
    decoded = decode(body)
    payload = decoded.payload
    event_type = _event_type(payload)
    defect = decoded.defect or (Defect.NO_TYPE if event_type is None else None)
    event = Event(
        id=event_id,
        source=source,
        type=event_type or UNREADABLE,
        body=body,
        headers=_kept(headers),
        received_at=received_at,
        webhook_id=signature.webhook_id,
        uuid=signature.uuid,
        meeting=find(payload, "meeting.id", "recording.meetingId", "meetingId"),
        session=find(payload, "meeting.sessionId", "recording.roomUUID", "sessionId"),
        organization=find(payload, "meeting.organizedBy.id", "recording.organizationId", "organizedBy.id"),
        stream=find(payload, "streamId"),
        defect=defect,
    )
    event.__dict__["payload"] = payload  # fills the cached property: the body is parsed once
    return event


def _event_type(payload: Payload) -> str | None:
    """The type as Dyte writes it, where it is fit for a header, a topic name and a label."""
    name = payload.get("event")
    return name if isinstance(name, str) and _TYPE.fullmatch(name) else None


def _identifier(text: str | None) -> str | None:
    """An unsigned id that looks like one; anything else counts as absent."""
    return text if text is not None and _IDENTIFIER.fullmatch(text) else None


def _decode(text: str) -> bytes:
    try:
        signature = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedSignature("the signature is not base64") from error
    if not signature:
        raise MalformedSignature("the signature is empty")
    return signature


def _kept(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers worth keeping, as printable ASCII: bytes outside arrive as lone surrogates, which no store takes."""
    kept = {}
    for name, text in headers:
        if (lower := name.lower()) in KEPT_HEADERS and lower not in kept:
            text = text[:200]  # noqa: PLW2901
            printable = text.isascii() and text.isprintable()
            kept[lower] = text if printable else "".join(char if " " <= char <= "~" else "?" for char in text)
    return kept
