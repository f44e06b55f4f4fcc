"""Whether a place that may be posted to only so often, over all nodes, is ours to post to. Pure.

Lanes of one process share the pace of a place. Lanes of several nodes cannot: so one node at a time has the place's
*seat*, and only its lanes work. See docs/decisions/0026.
"""

from __future__ import annotations

from math import inf

from relay.pace import Pace
from relay.records import Grant

_SURE = 0.9
"""Part of its time for which a seat counts as ours: our clock may run slower than the store's."""


class Seat:
    """The seat of one place, shared by its lanes as its pace is. `now` is monotonic seconds."""

    def __init__(self, place: str, pace: Pace) -> None:
        self.place = place
        self._pace = pace
        self._until = -inf

    @property
    def needed(self) -> bool:
        """Whether there is a limit to keep; without one, all nodes work."""
        return self._pace.limited

    def ours(self, now: float) -> bool:
        """Whether it is surely ours, or not needed: what is begun now is begun by nobody else's measure."""
        return not self.needed or now < self._until

    def granted(self, grant: Grant, *, asked: float, now: float) -> None:
        """The store gave or left it to us; it was asked at that time. Where it was not ours just before, what the
        others have sent counts as sent by us."""
        if now >= self._until and grant.alone is not None:
            self._pace.inherit(grant.alone.total_seconds(), now)
        self._until = inf if grant.lasts is None else asked + _SURE * grant.lasts.total_seconds()

    def lost(self) -> None:
        """It is another node's, or we let go of it."""
        self._until = -inf

    def doubt(self) -> None:
        """So much may have happened unseen that only the store knows whose it is."""
        if self._until != inf:
            self.lost()

    def unused(self, now: float) -> float:
        """The seconds without an attempt that the next holder may count for what we have saved up."""
        return self._pace.saved(now)
