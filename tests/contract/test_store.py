"""What every store promises to the gateway and to the lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from relay.errors import StoreUnavailable
from relay.model import (
    Acceptance,
    Delivered,
    Delivery,
    DuplicateKind,
    EventState,
    Quarantine,
)
from relay.payload import Defect
from relay.ports import Store
from tests.contract.stores import OpenStore
from tests.fakes.admissions import NOON, admission

DELIVERED = Delivered(receipt="200")
SECOND = timedelta(seconds=1)
WINDOW = timedelta(minutes=5)
UUID, BODY = DuplicateKind.UUID, DuplicateKind.BODY


async def claim(store: Store, sink: str = "crm", *, limit: int = 100, now: datetime = NOON) -> Sequence[Delivery]:
    return await store.claim(sink, limit=limit, now=now, lease=timedelta(seconds=60))


# Accepting


async def test_an_accepted_event_comes_back_as_it_was(store: Store) -> None:
    given = admission("crm", order_key="m-1", session="s", organization="o", stream="l", defect=Defect.NO_TYPE)
    assert await store.accept(given) == Acceptance(event_id=given.event.id)
    [claimed] = await claim(store)
    assert claimed.event == given.event
    assert claimed.body == given.event.body
    assert (claimed.route, claimed.sink, claimed.attempt, claimed.tries, claimed.replay) == (
        "everything",
        "crm",
        1,
        1,
        0,
    )


async def test_an_accepted_event_outlives_the_store(open_store: OpenStore, tmp_path: Path) -> None:
    given = admission("crm", "audit")
    async with open_store(tmp_path) as store:
        await store.accept(given)
    async with open_store(tmp_path) as store:
        assert [found.event for found in await claim(store)] == [given.event]
        assert [found.event for found in await claim(store, "audit")] == [given.event]
        assert (await store.accept(given)).duplicate is UUID


async def test_fifty_copies_at_once_make_one_event(store: Store) -> None:
    given = admission("crm", "audit")
    acceptances = await asyncio.gather(*(store.accept(given) for _ in range(50)))
    assert [a.duplicate for a in acceptances].count(None) == 1
    assert {a.event_id for a in acceptances} == {given.event.id}
    assert await store.totals() == {"routed": 1, "pending": 2}


async def test_a_retry_has_another_event_id_but_is_told_the_first(store: Store) -> None:
    first = admission("crm", uuid="u", body=b"{}")
    await store.accept(first)
    again = await store.accept(admission("crm", uuid="u", body=b"{}", received_at=NOON + timedelta(days=2)))
    assert again == Acceptance(event_id=first.event.id, duplicate=UUID)


@pytest.mark.parametrize("other", [{"source": "realtimekit"}, {"webhook_id": "another"}, {"webhook_id": None}])
async def test_a_uuid_stands_for_one_source_and_registration(store: Store, other: dict[str, Any]) -> None:
    await store.accept(admission(uuid="u", body=b"{}"))
    acceptance = await store.accept(admission(uuid="u", body=b"{}", **other))
    assert acceptance.duplicate is None
    assert not acceptance.conflict


async def test_one_uuid_with_two_bodies_is_two_events_and_an_alarm(store: Store) -> None:
    await store.accept(admission("crm", uuid="u", body=b"1"))
    second = admission("crm", uuid="u", body=b"2")
    assert await store.accept(second) == Acceptance(event_id=second.event.id, conflict=True)
    assert (await store.accept(second)).duplicate is UUID
    assert [claimed.body for claimed in await claim(store)] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("after", "window", "kind"),
    [
        (timedelta(0), WINDOW, BODY),
        (WINDOW, WINDOW, BODY),
        (WINDOW + SECOND, WINDOW, None),
        (SECOND, timedelta(0), None),
    ],
)
async def test_the_same_body_under_a_new_uuid_is_a_retry_inside_the_window_only(
    store: Store, after: timedelta, window: timedelta, kind: DuplicateKind | None
) -> None:
    first = admission("crm", body=b"same", replay_window=WINDOW)
    await store.accept(first)
    second = admission("crm", body=b"same", replay_window=window, received_at=NOON + after)
    acceptance = await store.accept(second)
    assert acceptance.duplicate is kind
    assert acceptance.event_id == (first if kind else second).event.id
    assert not acceptance.conflict


@pytest.mark.parametrize("ago", [SECOND, timedelta(hours=1), timedelta(hours=30), -timedelta(hours=2)])
async def test_a_window_goes_over_hours_and_days(store: Store, ago: timedelta) -> None:
    """Also into the future: another node's clock may have been ahead."""
    window = timedelta(days=2)
    for hours in (-20, 0, 1):
        await store.accept(admission("crm", replay_window=window, received_at=NOON - timedelta(hours=hours)))
    first = admission("crm", body=b"same", replay_window=window, received_at=NOON - ago)
    await store.accept(first)
    group = [admission("crm", body=body, replay_window=wanted) for body, wanted in ((b"", WINDOW), (b"same", window))]
    *_, made = await asyncio.gather(*(store.accept(each) for each in group))
    assert (made.event_id, made.duplicate) == (first.event.id, BODY)


async def test_repeats_do_not_make_the_window_longer(store: Store) -> None:
    await store.accept(admission("crm", body=b"same", replay_window=WINDOW))
    repeat = admission("crm", body=b"same", replay_window=WINDOW, received_at=NOON + 0.8 * WINDOW)
    assert (await store.accept(repeat)).duplicate is BODY
    later = admission("crm", body=b"same", replay_window=WINDOW, received_at=NOON + 1.2 * WINDOW)
    assert (await store.accept(later)).duplicate is None


async def test_a_body_retry_is_known_by_its_own_uuid_too(store: Store) -> None:
    first = admission("crm", body=b"same", replay_window=WINDOW)
    second = admission("crm", body=b"same", replay_window=WINDOW, received_at=NOON + SECOND)
    await store.accept(first)
    assert (await store.accept(second)).duplicate is BODY
    assert await store.accept(second) == Acceptance(event_id=first.event.id, duplicate=UUID)
    assert await store.totals() == {"routed": 1, "pending": 1}


@pytest.mark.parametrize("other", [{"source": "realtimekit"}, {"webhook_id": "another"}])
async def test_the_window_holds_for_one_source_and_registration(store: Store, other: dict[str, Any]) -> None:
    await store.accept(admission(body=b"same", replay_window=WINDOW))
    assert (await store.accept(admission(body=b"same", replay_window=WINDOW, **other))).duplicate is None


async def test_without_a_uuid_only_the_body_can_tell_a_retry(store: Store) -> None:
    def anonymous(window: timedelta) -> asyncio.Future[Acceptance]:
        given = admission(body=b"same", replay_window=window, uuid=None, webhook_id=None)
        return asyncio.ensure_future(store.accept(given))

    assert (await anonymous(WINDOW)).duplicate is None
    assert (await anonymous(WINDOW)).duplicate is BODY
    acceptance = await anonymous(timedelta(0))
    assert acceptance.duplicate is None
    assert not acceptance.conflict


async def test_an_event_is_routed_unrouted_or_quarantined(store: Store) -> None:
    await store.accept(admission("crm"))
    await store.accept(admission())
    await store.accept(admission(quarantine=Quarantine.ORGANIZATION))
    assert await store.totals() == {"routed": 1, "unrouted": 1, "quarantined": 1, "pending": 1}
    [kept] = await store.events(state=EventState.QUARANTINED)
    assert kept.detail == "organization_not_allowed"


async def test_what_cannot_be_written_harms_nobody_else(store: Store) -> None:
    """Two deliveries of one event to one sink break the schema; the routes never make them."""
    impossible = admission("crm", "crm")
    good = [admission("crm") for _ in range(20)]
    outcomes = await asyncio.gather(
        *(store.accept(each) for each in [*good[:10], impossible, *good[10:]]), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(Acceptance) == 20
    assert await store.event(impossible.event.id) is None
    assert await store.totals() == {"routed": 20, "pending": 20}


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", "Grüße 👋\u2028".encode(), b"x" * 1024 * 1024])
async def test_any_body_is_kept_byte_for_byte(store: Store, body: bytes) -> None:
    given = admission("crm", order_key="Grüße 👩‍💻 \x00 end", body=body, type="meeting.\x00👋")
    await store.accept(given)
    [claimed] = await claim(store)
    assert claimed.event == given.event


# Hints and the end


async def wait_until_hinted(store: Store, sink: str) -> None:
    """Fails by its deadline, long before the wait's own time-out."""
    async with asyncio.timeout(30):
        await store.wait(sink, timeout=60)


async def test_a_wait_ends_when_something_is_accepted(store: Store) -> None:
    waiting = asyncio.create_task(wait_until_hinted(store, "crm"))
    await asyncio.sleep(0)
    await store.accept(admission("crm"))
    await waiting


async def test_a_hint_before_the_wait_is_not_lost(store: Store) -> None:
    await store.accept(admission("crm"))
    await wait_until_hinted(store, "crm")


async def test_a_wait_ends_when_a_meeting_s_next_one_comes_due(store: Store) -> None:
    for _ in range(2):
        await store.accept(admission("crm", order_key="m"))
    [first] = await claim(store)
    await wait_until_hinted(store, "crm")
    waiting = asyncio.create_task(wait_until_hinted(store, "crm"))
    await asyncio.sleep(0)
    await store.settle([(first, DELIVERED)], now=NOON)
    await waiting


async def test_a_wait_without_a_hint_ends_by_itself(store: Store) -> None:
    async with asyncio.timeout(30):
        await store.wait("crm", timeout=0.01)


async def test_closing_while_work_waits_leaves_nobody_hanging(open_store: OpenStore, tmp_path: Path) -> None:
    given = [admission("crm") for _ in range(100)]
    async with open_store(tmp_path) as store:
        waiting = [asyncio.ensure_future(store.accept(each)) for each in given]
        await asyncio.sleep(0)
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    acknowledged = {outcome.event_id for outcome in outcomes if isinstance(outcome, Acceptance)}
    assert all(isinstance(outcome, Acceptance | StoreUnavailable) for outcome in outcomes)
    async with open_store(tmp_path) as store:
        kept = {record.event.id for record in await store.events(limit=1000)}
    assert acknowledged <= kept


async def test_a_closed_store_says_so(open_store: OpenStore, tmp_path: Path) -> None:
    async with open_store(tmp_path) as store:
        pass
    await store.close()
    assert store.health().obstacle
    for call in (store.accept(admission()), claim(store), store.next_due("crm"), store.totals(), store.event("x")):
        with pytest.raises(StoreUnavailable) as caught:
            await call
        assert caught.value.kind == "closed"


async def test_who_stops_waiting_disturbs_nobody(store: Store) -> None:
    waiting = [asyncio.ensure_future(store.accept(admission("crm"))) for _ in range(50)]
    await asyncio.sleep(0)
    for each in waiting[::2]:
        each.cancel()
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(outcome, Acceptance) for outcome in outcomes[1::2])
    totals = await store.totals()
    assert totals["routed"] == totals["pending"] >= 25


async def test_commits_are_told_to_listeners(store: Store) -> None:
    took: list[float] = []
    store.on_commit(took.append)
    await store.accept(admission("crm"))
    assert len(took) == 1
    assert took[0] > 0
