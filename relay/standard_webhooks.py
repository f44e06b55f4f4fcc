"""Standard Webhooks 1.0.0 signatures, scheme v1. Pure.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE = 300
"""Seconds that a receiver lets a timestamp be off; the specification gives no number, its libraries use this one."""
_BYTES = range(24, 65)
_TIMESTAMP = re.compile(r"\d{1,15}", re.ASCII)


def read_secret(text: str) -> bytes:
    """The key bytes of `whsec_…`; raises ValueError (without the secret in it) where it is not one."""
    problem = ValueError(
        "is no Standard Webhooks secret: write whsec_ and the base64 of 24 to 64 random bytes, "
        'for instance from: echo "whsec_$(openssl rand -base64 32)"'
    )
    if not text.startswith(PREFIX):
        raise problem
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise problem from None
    if len(key) not in _BYTES:
        raise problem
    return key


def sign(keys: Sequence[bytes], *, message_id: str, timestamp: int, body: bytes) -> str:
    """The `webhook-signature` header: one signature for each key, so that a receiver may know either while rotating."""
    content = f"{message_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body
    signatures = (base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode() for key in keys)
    return " ".join(f"v1,{signature}" for signature in signatures)


def verify(keys: Sequence[bytes], *, headers: Mapping[str, str], body: bytes, now: float) -> bool:
    """Whether one of the signatures is right and at most five minutes off: what a receiver of the relay does.

    `headers` are looked up in lower case; `now` is in Unix seconds.
    """
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not _TIMESTAMP.fullmatch(timestamp) or abs(now - int(timestamp)) > TOLERANCE:
        return False
    expected = sign(keys, message_id=message_id, timestamp=int(timestamp), body=body).encode().split()
    given = headers.get("webhook-signature", "").encode("utf-8", "surrogatepass").split()
    return any(hmac.compare_digest(one, other) for one in expected for other in given)
