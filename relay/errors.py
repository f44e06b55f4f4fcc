"""The error tree. The docstring is the message's meaning; each name says whose fault it is and what follows.

RelayError
├── ConfigError                 the configuration is wrong: the process ends with 2, nothing was changed
├── StartError                  the world is not ready: a port in use, a store that cannot be opened
├── StoreError                  the store could not do it
│   ├── StoreUnavailable        busy, full, away, failing or closed: the sender gets 503 and tries again
│   └── StoreUnusable           corrupt, too new, vulnerable: the process does not start
├── ProviderError               the provider's API did not do what `relay webhooks` asked for
└── DeliveryError               a sink did not take a delivery
    ├── Unavailable             maybe later: retried with back-off
    ├── Rejected                never this event: a dead letter at once
    └── Misconfigured           no event, until somebody mends the sink: it pauses and keeps its backlog
"""

from __future__ import annotations

from datetime import timedelta

from relay.model import Failure, Reason


class RelayError(Exception):
    """Anything that this program raises on purpose."""


class ConfigError(RelayError):
    """The configuration is wrong; the message lists every problem with file, line, key and mend."""


class StartError(RelayError):
    """The relay cannot start; the message says what to do about it."""


class StoreError(RelayError):
    """The store could not do what it was asked."""

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind
        """Metric label, closed: busy, conn, full, io, closed, other; corrupt, version."""


class StoreUnavailable(StoreError):
    """Not now; nothing is known to be written, and a later try may succeed."""


class StoreUnusable(StoreError):
    """Not with this file; never recreated silently."""


class ProviderError(RelayError):
    """The provider's API did not do what it was asked; the message says what to do about it."""

    def __init__(
        self, message: str, *, status: int = 0, unsure: bool = False, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        """What it answered; 0: nothing that counts."""
        self.unsure = unsure
        """True where it may have been done all the same."""
        self.retry_after = retry_after
        """How long it asked to be left alone; only of a 429."""


class DeliveryError(RelayError):
    """A sink did not take a delivery."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.failure = Failure(reason=reason, detail=detail)


class Unavailable(DeliveryError):
    """The sink may take it later: a time-out, a lost connection, a 5xx, a throttle."""

    def __init__(self, reason: Reason, detail: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(reason, detail)
        self.retry_after = retry_after
        """How long the sink asked to be left alone, already clamped to something sane."""


class Rejected(DeliveryError):
    """The sink will never take this event; others are not concerned."""


class Misconfigured(DeliveryError):
    """The sink takes nothing as it is set up: an unknown topic, a revoked token, an address that is gone."""

    def __init__(self, reason: Reason, detail: str, *, certain: bool = True, partly: bool = False) -> None:
        super().__init__(reason, detail)
        self.certain = certain
        """False where the event may be to blame (401, 403, 404, 405, 3xx): three different ones in a row settle it."""
        self.partly = partly
        """True where it takes none like this, but others (one topic of several is missing): only these wait."""
