"""A store that becomes another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol


class Origin(Protocol):
    """A store that is copied, as it was when it was opened. Nobody may work on it meanwhile."""

    async def counts(self) -> Mapping[str, int]:
        """How much there is, by kind."""

    def rows(self, table: str) -> AsyncIterator[Sequence[tuple[object, ...]]]:
        """All rows of a table, in steps that fit into memory."""

    async def check(self) -> None:
        """Raises StoreUnusable if a relay works on it now."""

    async def close(self) -> None:
        """Let go of the store."""


class Copy(Protocol):
    """A store that another is copied into. No relay opens it before `finish`."""

    async def begin(self) -> None:
        """Start from nothing; what a copy that was not finished has left is thrown away."""

    async def put(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Write these rows in one commit, with the numbers that they have."""

    async def counts(self) -> Mapping[str, int]:
        """How much there is, by kind."""

    async def finish(self) -> None:
        """Make it a store like any other, durably. Raises StoreUnusable if a relay works on it."""

    async def close(self) -> None:
        """Let go of the store."""
