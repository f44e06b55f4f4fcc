"""What time it is, and what everything goes by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """Aware, in UTC: what people and receivers are told. May jump; durations are measured by the event loop."""

    def steady(self) -> datetime:
        """What due times and leases go by: never back within a process, and never behind `now`. It jumps forward. Once
        it was corrected it goes by the store's clock instead, whatever `now` does."""

    def stamp(self) -> datetime:
        """The moment to write down for what happens now: `now`, but never ahead of `steady`, so that no node has to
        wait until it comes due."""

    def correct(self, by: timedelta) -> None:
        """The store's clock, which all nodes go by, is so far ahead of `steady`: go by that one from now on."""

    @property
    def doubtful(self) -> bool:
        """Whether it jumped, goes by the store's clock, and was not compared with that since: the machine may have
        slept, and everything that was leased may be somebody else's."""

    def age(self, since: datetime) -> timedelta:
        """How much time has passed since that moment; what the clock has skipped, as far as is known, has not."""

    def ago(self, age: timedelta) -> datetime:
        """The moment that has this age."""

    def on_jump(self, listener: Callable[[timedelta], None]) -> None:
        """Call the listener with how far the clock jumped, each time that it is found to."""
