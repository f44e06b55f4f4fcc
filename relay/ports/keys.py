"""Whose signature it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Signer(Protocol):
    """A public key that can tell whether a signature is its owner's."""

    def verify(self, body: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over exactly these bytes. Never raises."""


class Keys(Protocol):
    """The public keys of one source."""

    def current(self) -> Sequence[Signer]:
        """The keys to try, newest first; empty while none is known. No I/O."""

    def fresh(self) -> bool:
        """Whether a signature that no key fits can be called wrong: pinned keys, or fetched a moment ago."""

    async def refresh(self) -> bool:
        """Ask the provider again, unless that was done less than a minute ago, and say whether the keys are fresh now.

        Many callers share one fetch. Cancelling a caller does not cancel the fetch.
        """
