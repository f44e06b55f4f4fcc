"""Check the signature of what an HTTP sink sends. Standard library only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping


def is_genuine(secret: str, headers: Mapping[str, str], body: bytes, *, tolerance: float = 300) -> bool:
    """Whether the request is from the relay and young. `headers` in lower case, `body` as it came."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    event_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not timestamp.isdigit() or abs(time.time() - int(timestamp)) > tolerance:
        return False
    digest = hmac.digest(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256)
    expected = f"v1,{base64.b64encode(digest).decode()}"
    given = headers.get("webhook-signature", "").split()  # several while a secret is rotated
    return any(hmac.compare_digest(expected.encode(), each.encode()) for each in given)
