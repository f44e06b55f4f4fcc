"""Destinations, as their lanes see them."""

from __future__ import annotations

from typing import Protocol

from relay.model import Delivery
from relay.preview import Look, Preview


class Sink(Protocol):
    """A destination. Its constructor does no I/O; it connects on first use."""

    async def deliver(self, delivery: Delivery) -> str:
        """Hand over one delivery and return a receipt: a short text that helps to find it at the other end.

        Returning means that the destination has taken it. May be called many times at once, again for the same
        delivery, and may be cancelled at any await (time-out, shutdown).

        Raises:
            Unavailable: maybe later.
            Rejected: never this event.
            Misconfigured: no event, until somebody mends the sink.
        """

    async def close(self) -> None:
        """Let go of everything within a few seconds, also when the destination is dead. May be called twice."""


class Previewed(Protocol):
    """What can tell what it would send."""

    def preview(self, delivery: Delivery, look: Look) -> Preview:
        """What `deliver` would send, made by the same code and not sent. No I/O; needs no event loop.

        Raises:
            Rejected, Misconfigured: as `deliver` would, before it sent anything.
        """


class PreviewedSink(Sink, Previewed, Protocol):
    """A sink as it is built: it delivers, and tells beforehand what."""
