"""What a lane holds: what it has claimed, until when each is its own, and which of it waits to be begun. Pure.

A lane may claim ahead, so that a slot that falls free is filled at once and need not wait for a commit. What is claimed
ahead must never be begun when its lease could end during the attempt: somebody else may be at work on it by then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import datetime, timedelta

from relay.model import Delivery


class Leases:
    """The leases of one lane."""

    def __init__(self, *, length: timedelta, needed: timedelta) -> None:
        """`needed` is how long an attempt may take."""
        self._length = length
        self._needed = needed
        self._until: dict[int, datetime] = {}
        """Of what waits, is under way, or is not settled yet; the oldest first."""
        self._waiting: deque[Delivery] = deque()

    @property
    def waiting(self) -> int:
        """How many are claimed and not begun."""
        return len(self._waiting)

    @property
    def held(self) -> int:
        """How many are claimed and not settled."""
        return len(self._until)

    def claimed(self, deliveries: Sequence[Delivery], *, at: datetime) -> None:
        """These were claimed at that moment, and wait to be begun."""
        until = at + self._length
        for delivery in deliveries:
            self._until[delivery.id] = until
        self._waiting.extend(deliveries)

    def next(self) -> Delivery:
        """The one that is to be begun next; it waits no more."""
        return self._waiting.popleft()

    def lasts(self, delivery: Delivery, now: datetime) -> bool:
        """Whether an attempt that begins now ends within the lease."""
        return self._until[delivery.id] - now >= self._needed

    def settled(self, delivery: Delivery) -> None:
        """It is ours no more."""
        self._until.pop(delivery.id, None)

    def outlived(self, now: datetime) -> bool:
        """Whether a lease of ours has run out under our hands: the clock jumped, or the process was stopped for long.

        A claim would take what is still under way once more; it ends within its time-out, and then all is well again.
        """
        return next(iter(self._until.values()), now + self._length) <= now
