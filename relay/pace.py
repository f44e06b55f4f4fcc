"""Keeping to a rate: a token bucket, moved by the time that it is told."""

from __future__ import annotations

from relay.options import Rate

_ROUNDING = 1e-6
"""Part of a token that may be missing: after waiting for one token, one token must be there."""


class Pace:
    """Lets so many through per time, evenly, with bursts of one second's worth (at least one). `now` is monotonic."""

    def __init__(self, rate: Rate | None) -> None:
        self._at = 0.0
        self._tokens = float("inf")
        self.change(rate)

    def change(self, rate: Rate | None) -> None:
        """Keep to another rate from now on; what was saved up beyond its burst is gone."""
        self._per_second = None if rate is None else rate.per_second
        self._burst = 1.0 if rate is None else max(1.0, rate.per_second)
        self._tokens = min(self._tokens, self._burst)

    @property
    def limited(self) -> bool:
        """Whether there is a rate to keep to."""
        return self._per_second is not None

    def allowance(self, wanted: int, now: float) -> int:
        """How many of the wanted may go now."""
        if self._per_second is None:
            return wanted
        self._refill(now)
        return max(0, min(wanted, int(self._tokens + _ROUNDING)))

    def took(self, count: int, now: float) -> None:
        """So many went."""
        if self._per_second is not None:
            self._refill(now)
            self._tokens -= count

    def inherit(self, alone: float, now: float) -> None:
        """Go on where somebody else has kept to the same rate until so many seconds ago, and may have used up all."""
        if self._per_second is not None:
            self._refill(now)
            self._tokens = min(self._tokens, alone * self._per_second)

    def saved(self, now: float) -> float:
        """The seconds that it takes to save up as much as there is now."""
        if self._per_second is None:
            return 0.0
        self._refill(now)
        return max(0.0, self._tokens) / self._per_second

    def wait(self, now: float) -> float:
        """Seconds until one more may go."""
        if self._per_second is None:
            return 0.0
        self._refill(now)
        return max(0.0, (1.0 - self._tokens) / self._per_second)

    def _refill(self, now: float) -> None:
        if self._per_second is not None and now > self._at:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
            self._at = now
