"""Accepting: many events in one call, each with its mark and its deliveries. The server does it (`relay.accept`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property

from relay.model import Acceptance, Admission, DuplicateKind, EventState
from relay.stores.postgres.connection import Connection
from relay.stores.postgres.texts import stored, stored_or_none
from relay.stores.rows import Row, headers_text, to_micros

_ACCEPT = f"SELECT * FROM relay.accept({', '.join(f'${number}' for number in range(1, 27))})"  # noqa: S608 - numbers
_LONGEST_ID = 256
"""Bytes of an id in a mark, which stands in an index; a longer one stands there as its digest."""


class Candidate:
    """An admission that is to be written, and what tells whether it was seen before."""

    def __init__(self, admission: Admission) -> None:
        event = admission.event
        self.admission = admission
        self.body_hash = hashlib.sha256(event.body).digest()
        # Without a uuid it is this event alone, and only the body can tell a retry.
        self.sender = (event.source, short(event.webhook_id or ""), short(event.uuid or f"event:{event.id}"))
        self.window = admission.replay_window // timedelta(microseconds=1)

    @cached_property
    def sender_lock(self) -> int:
        """What is locked while it is found out whether this sender's uuid was seen before."""
        return _lock(hashlib.sha256("\0".join(self.sender).encode("utf-8", "surrogatepass")).digest())

    @cached_property
    def body_lock(self) -> int:
        """What is locked while it is found out whether this body was."""
        return _lock(self.body_hash)


def short(text: str) -> str:
    """An id as it stands in a mark."""
    encoded = text.encode("utf-8", "surrogatepass")
    return text if len(encoded) <= _LONGEST_ID else f"sha256:{hashlib.sha256(encoded).hexdigest()}"


def _lock(digest: bytes) -> int:
    return int.from_bytes(digest[:4], signed=True)


async def accept_all(connection: Connection, candidates: Sequence[Candidate]) -> Sequence[Acceptance]:
    """Write admissions, but those whose events are duplicates. No two may be alike, as `Group.fits` says."""
    events = [_columns(each) for each in candidates]
    deliveries = [
        (place, stored(target.route), stored(target.sink), stored_or_none(target.order_key))
        for place, each in enumerate(candidates, 1)
        for target in each.admission.targets
    ]
    locks = [each.sender_lock for each in candidates], [each.body_lock for each in candidates if each.window]
    rows = await connection.fetch(_ACCEPT, *_turned(events, 20), *_turned(deliveries, 4), *locks)
    made = [Acceptance(event_id=each.admission.event.id) for each in candidates]
    for place, event_id, told in rows:
        if told == "conflict":
            made[place - 1] = Acceptance(event_id=event_id, conflict=True)
        else:
            made[place - 1] = Acceptance(event_id=event_id, duplicate=DuplicateKind(told))
    return made


def _columns(candidate: Candidate) -> Row:
    admission, event = candidate.admission, candidate.admission.event
    if admission.quarantine is not None:
        state, detail = EventState.QUARANTINED, str(admission.quarantine)
    else:
        state, detail = (EventState.ROUTED if admission.targets else EventState.UNROUTED), ""
    _, webhook_id, uuid = candidate.sender
    return (
        stored(event.id),
        stored(event.source),
        stored(event.type),
        state,
        detail,
        to_micros(event.received_at),
        stored_or_none(event.webhook_id),
        stored_or_none(event.uuid),
        stored_or_none(event.meeting),
        stored_or_none(event.session),
        stored_or_none(event.organization),
        stored_or_none(event.stream),
        event.defect,
        stored(headers_text(event)),
        event.body,
        stored(webhook_id),
        stored(uuid),
        candidate.body_hash,
        candidate.window,
        stored(admission.config),
    )


def _turned(rows: Sequence[Row], width: int) -> Sequence[Sequence[object]]:
    """Rows as columns."""
    return list(zip(*rows, strict=True)) if rows else [()] * width
