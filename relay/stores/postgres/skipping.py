"""Where in a sink's queue to begin looking for what is due.

What is settled leaves an entry in the index until vacuum may remove it, and it may not while anybody's transaction is
open that began before: a backup, a report, somebody's forgotten session. A look from the beginning passes all of them,
hundreds of thousands after minutes. So where a look had to pass many, those after it begin where it ended, and only
now and then one goes through all again, so seldom that it takes a small share of the time.

Between two such looks nothing is missed but what came due earlier than it should have: an event that a node with a slow
clock has accepted, or one whose commit took long. It waits for the next of them.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

_MANY = 2_000
"""So many entries are passed in a millisecond or two."""
_PAUSE, _LONGEST = 50, 5_000_000
"""Microseconds until the next look through all, for each entry that was passed; and at most."""
_RECENT = 2_000_000
"""Microseconds. What came due so shortly ago may still come to light: by nodes whose clocks differ, and commits."""


@dataclass
class Look:
    """One sink's queue; all times in microseconds."""

    since: int = 0
    """What was due before is skipped; 0: nothing is."""
    through_at: int = 0
    """When to look through all again."""
    next_known: bool = False
    next_due: int | None = None
    """What was found last, if it is known."""

    def begin(self, now: int) -> int:
        """From which due time on to look this time."""
        return self.since if now < self.through_at else 0

    def ended(self, since: int, now: int, *, oldest: int | None, passed: int, full: bool) -> None:
        """It passed so many entries in vain. The oldest that it took was due then; `full`: there may be more."""
        if not since:
            self.through_at = now + min(passed * _PAUSE, _LONGEST)
            self.next_known = False
        if not since and passed < _MANY:
            self.since = 0
        else:
            self.since = oldest if full and oldest is not None else now - _RECENT
        if self.next_due is not None and self.next_due <= now:
            self.next_known = False

    def failed(self, now: int) -> None:
        """It took so long that the server gave up. Without this one, no later look would come to an end either."""
        self.since = self.since or now - _RECENT
        self.through_at = now + _LONGEST

    def comes_due(self, at: int) -> None:
        """Something does, then."""
        if self.since:
            self.since = min(self.since, at)
            self.next_due = at if self.next_due is None else min(self.next_due, at)


class Skipping:
    """One node's looks, by sink."""

    def __init__(self) -> None:
        self._looks: defaultdict[str, Look] = defaultdict(Look)

    def of(self, sink: str) -> Look:
        """The sink's."""
        return self._looks[sink]
