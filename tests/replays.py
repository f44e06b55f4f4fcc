"""What tests of replays begin with: events that went somewhere already, and some that did not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from relay.model import Admission, Dead, Delivered, Failure, Quarantine, Reason, Retry, Target
from relay.ports import Store
from relay.records import DeliveryRecord
from tests.commands import opened, settle
from tests.fakes.admissions import event
from tests.running import Relay, payload, write_config

HOUR = timedelta(hours=1)
DONE = Delivered(receipt="200")
DEAD = Dead(failure=Failure(reason=Reason.REFUSED, detail="the service answered 400"))
BODY = orjson.dumps(payload())


async def accept(
    store: Store, *sinks: str, route: str = "everything", quarantine: Quarantine | None = None, **given: Any
) -> str:
    """An event of now, unless it is told otherwise."""
    made = event(**{"received_at": datetime.now(UTC), "body": BODY} | given)
    targets = [Target(route=route, sink=sink) for sink in sinks]
    await store.accept(Admission(event=made, targets=targets, quarantine=quarantine, config="before"))
    return made.id


async def filled(folder: Path) -> dict[str, str]:
    """Three sinks, three events: one of an hour ago that died at crm, one that arrived there, one that waits there."""
    write_config(folder, sinks={name: {"type": "file", "path": str(folder / name)} for name in ("crm", "audit")})
    now = datetime.now(UTC)
    async with opened(folder) as store:
        old = await accept(store, "audit", "crm", meeting="a", received_at=now - HOUR, type="meeting.ended")
        await settle(store, "crm", DEAD)
        new = await accept(store, "crm", meeting="b", source="realtimekit", route="other")
        await settle(store, "crm", DONE)
        waits = await accept(store, "crm", meeting="c")
        await settle(store, "crm", Retry(failure=DEAD.failure, at=now + HOUR))
        await settle(store, "audit", DONE)
    return {"old": old, "new": new, "waits": waits}


async def records(folder: Path, **filters: Any) -> list[DeliveryRecord]:
    """Oldest first."""
    async with opened(folder) as store:
        return list(reversed(await store.deliveries(limit=10_000, **filters)))


async def post(relay: Relay, meeting: str, **more: Any) -> str:
    answered = await relay.post(payload(meeting=meeting, **more))
    assert answered.status == 200
    return str(answered.json["id"])
