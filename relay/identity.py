"""Ids: of events, and of the processes that hold leases."""

from __future__ import annotations

import os
import re
import secrets
from datetime import datetime
from socket import gethostname

_DICE = 20
"""Random digits of an id."""
_ROLLS = 256
"""Ids for which the system is asked at once: it takes it longer to be asked than to answer."""
_rolled: list[str] = []
os.register_at_fork(after_in_child=_rolled.clear)  # else parent and child would give the same ids
_LONGEST_NAME = 40


def new_event_id(now: datetime) -> str:
    """A UUIDv7: 48 bits of milliseconds, then random bits, so that ids sort by time and indexes grow at their end.

    https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7
    """
    time = f"{int(now.timestamp() * 1000) & ((1 << 48) - 1):012x}"
    dice = _roll()
    variant = "89ab"[int(dice[3], 16) & 3]
    return f"{time[:8]}-{time[8:]}-7{dice[:3]}-{variant}{dice[4:7]}-{dice[7:19]}"


def _roll() -> str:
    """Random digits that nobody else gets."""
    try:
        return _rolled.pop()
    except IndexError:
        digits = os.urandom(_ROLLS * _DICE // 2).hex()
        _rolled.extend(digits[start : start + _DICE] for start in range(_DICE, len(digits), _DICE))
        return digits[:_DICE]


def new_owner() -> str:
    """The name under which one opened store holds leases: of nobody else, not even of its own successor. It begins with
    the machine's, for people."""
    machine = re.sub(r"[^0-9A-Za-z.-]", "-", gethostname())[:_LONGEST_NAME]
    return f"{machine}-{secrets.token_hex(6)}"
