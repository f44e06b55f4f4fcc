"""The store as it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from relay.model import Selection
from relay.records import Arrival, DeliveryRecord, Step


class Live(Protocol):
    """A store as it changes, for those who look on. Each call is one short read, whatever the store holds, and none
    keeps anybody who works on the store from anything."""

    async def place(self, since: datetime | None = None) -> int:
        """Where the ledger ends now; with a moment, where what was accepted then or later begins. What `arrived` goes
        on from."""

    async def arrived(self, selection: Selection, *, after: int, limit: int) -> Step[Sequence[Arrival]]:
        """Of the next `limit` events behind a place those that are meant, in the order of acceptance. `next` is the
        place to go on from; None: there are no more. What the selection says of states does not matter."""

    async def waiting(self, selection: Selection, *, limit: int) -> Mapping[int, int]:
        """Of the `limit` pending deliveries of each sink that come due first those that are meant: how many attempts
        of each have ended, by its id."""

    async def moved(self, ended: Mapping[int, int]) -> Sequence[DeliveryRecord]:
        """Of these deliveries those that are settled, or of which more attempts have ended than that."""

    async def close(self) -> None:
        """Let go of the store."""
