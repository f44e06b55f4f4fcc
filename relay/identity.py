"""Ids: of events, and of the processes that hold leases."""

from __future__ import annotations

import secrets
from datetime import datetime
from uuid import UUID


def new_event_id(now: datetime) -> str:
    """A UUIDv7: 48 bits of milliseconds, then random bits, so that ids sort by time and indexes grow at their end.

    https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
    """
    milliseconds = int(now.timestamp() * 1000) & ((1 << 48) - 1)
    number = (milliseconds << 80) | secrets.randbits(80)
    number = (number & ~(0xF << 76)) | (0x7 << 76)
    number = (number & ~(0x3 << 62)) | (0x2 << 62)
    return str(UUID(int=number))


def new_owner() -> str:
    """The name under which one opened store holds leases: of nobody else, not even of its own successor."""
    return secrets.token_hex(8)
