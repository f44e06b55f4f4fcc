"""The contracts between the parts, each written from the side of the one who calls."""

from __future__ import annotations

from relay.ports.clock import Clock
from relay.ports.copying import Copy, Origin
from relay.ports.keys import Keys, Signer
from relay.ports.live import Live
from relay.ports.sinks import Previewed, PreviewedSink, Sink
from relay.ports.store import Intake, Ledger, Operator, Outbox, Store, Switchboard

__all__ = [
    "Clock",
    "Copy",
    "Intake",
    "Keys",
    "Ledger",
    "Live",
    "Operator",
    "Origin",
    "Outbox",
    "Previewed",
    "PreviewedSink",
    "Signer",
    "Sink",
    "Store",
    "Switchboard",
]
