"""The store's contract, part three: what people ask, and what is forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from relay.model import Dead, Delivered, DeliveryState, EventState, Failure, Quarantine, Reason, Retry, Verdict
from relay.ports import Store
from tests.fakes.admissions import NOON, admission, event

LEASE = timedelta(seconds=60)
DAY = timedelta(days=1)
DONE = Delivered(receipt="200")
DEAD = Dead(failure=Failure(reason=Reason.REFUSED, detail="400"))


async def accept(store: Store, *sinks: str, quarantine: Quarantine | None = None, **given: object) -> str:
    accepted = admission(*sinks, of=event(**given), quarantine=quarantine)
    await store.accept(accepted)
    return accepted.event.id


async def settle_all(store: Store, sink: str, verdict: Verdict, now: datetime = NOON) -> None:
    claimed = await store.claim(sink, limit=1000, now=now, lease=LEASE)
    await store.settle([(delivery, verdict) for delivery in claimed], now=now)


async def purge(store: Store, *, delivered_before: datetime, dead_before: datetime | None = None) -> int:
    step = await store.purge(delivered_before=delivered_before, dead_before=dead_before or NOON - 99 * DAY, limit=99)
    return step.done


def ids(records: Sequence[object]) -> list[str]:
    return [record.event.id for record in records]  # type: ignore[attr-defined]


async def test_the_newest_events_come_first_and_no_more_than_asked_for(store: Store) -> None:
    accepted = [await accept(store) for _ in range(5)]
    assert ids(await store.events(limit=3)) == accepted[:1:-1]


async def test_events_are_found_by_each_filter_and_by_all_together(store: Store) -> None:
    started = await accept(store, "crm", type="meeting.started", meeting="a")
    ended = await accept(store, "crm", type="meeting.ended", meeting="a", source="realtimekit")
    recording = await accept(store, type="recording.statusUpdate", meeting="b")
    hidden = await accept(store, quarantine=Quarantine.ORGANIZATION, meeting="b")
    assert ids(await store.events(type_glob="meeting.e*")) == [ended]
    assert ids(await store.events(type_glob="*.statusUpdate")) == [recording]
    assert ids(await store.events(meeting="a")) == [ended, started]
    assert ids(await store.events(source="realtimekit")) == [ended]
    assert ids(await store.events(state=EventState.UNROUTED)) == [recording]
    assert ids(await store.events(state=EventState.QUARANTINED)) == [hidden]
    assert ids(await store.events(type_glob="meeting.*", meeting="a", source="dyte", state=EventState.ROUTED)) == [
        started
    ]
    assert await store.events(meeting="a' OR 1=1 --") == []


async def test_an_event_is_found_by_its_id_the_start_of_it_or_the_senders_uuid(store: Store) -> None:
    first, second = [await accept(store, id=f"0193-{name}", uuid=f"uuid-of-{name}") for name in ("aa", "ab")]
    for asked, found in (
        (first, first),
        ("0193-aa", first),
        ("0193-ab", second),
        ("0193-a", None),
        ("uuid-of-ab", second),
        ("uuid-of", None),
        ("", None),
        ("nothing", None),
        ("\U0010ffff", None),
        ("\ud7ff", None),
        ("\udcff", None),
        ("0193-a%", None),
    ):
        record = await store.event(asked)
        assert (None if record is None else record.event.id) == found, ascii(asked)


async def test_a_uuid_finds_its_event_whichever_registration_it_came_by(store: Store) -> None:
    events = [
        await accept(store, source=source, webhook_id=webhook_id, uuid=f"{source}-{webhook_id}")
        for source in ("dyte", "realtimekit")
        for webhook_id in ("a", "b", None)
    ]
    for event_id in events:
        known = await store.event(event_id)
        assert known is not None
        found = await store.event(known.event.uuid or "")
        assert found is not None
        assert found.event.id == event_id


async def test_a_uuid_of_two_events_finds_neither_and_that_of_a_repeat_finds_the_first(store: Store) -> None:
    for body in (b"1", b"2"):
        await accept(store, uuid="twice", body=body)
    assert await store.event("twice") is None
    first = await accept(store, uuid="first", body=b"3")
    repeat = admission(of=event(uuid="again", body=b"3"), replay_window=DAY)
    assert (await store.accept(repeat)).event_id == first
    found = await store.event("again")
    assert found is not None
    assert found.event.id == first


async def test_a_uuid_finds_an_event_that_outlived_its_mark(store: Store) -> None:
    event_id = await accept(store, "crm", uuid="old", received_at=NOON - 9 * DAY)
    await purge(store, delivered_before=NOON)
    found = await store.event("old")
    assert found is not None
    assert found.event.id == event_id


async def test_a_whole_id_wins_over_the_start_of_another(store: Store) -> None:
    short, long = [await accept(store, id=name) for name in ("0193", "0193-and-more")]
    for asked in (short, long):
        record = await store.event(asked)
        assert record is not None
        assert record.event.id == asked


async def test_deliveries_are_found_by_each_filter(store: Store) -> None:
    one = await accept(store, "crm", "kafka", meeting="a")
    two = await accept(store, "crm", meeting="b")
    await settle_all(store, "kafka", DONE)

    async def found(**filters: object) -> list[tuple[str, str]]:
        return [(record.event_id, record.sink) for record in await store.deliveries(**filters)]  # type: ignore[arg-type]

    assert await found() == [(two, "crm"), (one, "kafka"), (one, "crm")]
    assert await found(limit=1) == [(two, "crm")]
    assert await found(event_id=one) == [(one, "kafka"), (one, "crm")]
    assert await found(sink="crm") == [(two, "crm"), (one, "crm")]
    assert await found(state=DeliveryState.DELIVERED) == [(one, "kafka")]
    assert await found(state=DeliveryState.PENDING, meeting="a") == [(one, "crm")]
    assert await found(event_id="another") == []


async def test_a_delivery_is_shown_with_all_that_is_known_of_it(store: Store) -> None:
    event_id = await accept(store, "crm", meeting="a", type="meeting.ended")
    [delivery] = await store.claim("crm", limit=1, now=NOON, lease=LEASE)
    failure = Failure(reason=Reason.THROTTLED, detail="429")
    await store.settle([(delivery, Retry(failure=failure, at=NOON + LEASE, counted=False))], now=NOON)
    [record] = await store.deliveries()
    assert (record.id, record.event_id, record.type, record.meeting) == (delivery.id, event_id, "meeting.ended", "a")
    assert (record.route, record.sink, record.config) == ("everything", "crm", "c0ffee")
    assert (record.attempt, record.tries, record.replay) == (1, 0, 0)
    [attempt] = record.attempts
    assert (attempt.attempt, attempt.at, attempt.reason, attempt.detail) == (1, NOON, "throttled", "429")


async def test_the_backlog_counts_what_waits_and_how_long_the_oldest_does(store: Store) -> None:
    assert await store.backlog() == {}
    for minutes in (5, 3, 1):
        await accept(store, "crm", "gone", received_at=NOON - timedelta(minutes=minutes))
    await store.claim("crm", limit=1, now=NOON, lease=LEASE)
    backlog = await store.backlog()
    assert {sink: waiting.pending for sink, waiting in backlog.items()} == {"crm": 3, "gone": 3}
    assert backlog["crm"].oldest == NOON - timedelta(minutes=5), "one under way still waits"
    await settle_all(store, "crm", DONE, NOON + LEASE)
    assert set(await store.backlog()) == {"gone"}


async def test_the_totals_account_for_everything(store: Store) -> None:
    assert sum((await store.totals()).values()) == 0
    await accept(store, "crm", "kafka")
    await accept(store, "kafka")
    await accept(store)
    await accept(store, quarantine=Quarantine.WEBHOOK_ID)
    await settle_all(store, "crm", DEAD)
    [one, _] = await store.claim("kafka", limit=9, now=NOON, lease=LEASE)
    await store.settle([(one, DONE)], now=NOON)
    expected = {"routed": 2, "unrouted": 1, "quarantined": 1, "dead": 1, "delivered": 1, "pending": 1}
    assert await store.totals() == expected


async def test_what_is_settled_is_forgotten_after_its_retention_and_not_before(store: Store) -> None:
    event_id = await accept(store, "crm", received_at=NOON - DAY)
    await settle_all(store, "crm", DONE, NOON)
    assert await purge(store, delivered_before=NOON) == 0, "it was delivered only now"
    assert await purge(store, delivered_before=NOON + timedelta(seconds=1)) == 1
    assert await store.event(event_id) is None
    assert await store.deliveries() == []
    assert sum((await store.totals()).values()) == 0


@pytest.mark.parametrize("quarantine", [None, Quarantine.ORGANIZATION])
async def test_what_went_nowhere_is_forgotten_too(store: Store, quarantine: Quarantine | None) -> None:
    await accept(store, quarantine=quarantine)
    assert await purge(store, delivered_before=NOON) == 0
    assert await purge(store, delivered_before=NOON + DAY) == 1


async def test_what_is_pending_anywhere_is_never_forgotten(store: Store) -> None:
    event_id = await accept(store, "crm", "gone")
    await settle_all(store, "crm", DONE)
    assert await purge(store, delivered_before=NOON + 999 * DAY, dead_before=NOON + 999 * DAY) == 0
    assert [record.state for record in await store.deliveries(event_id=event_id)] == ["pending", "delivered"]


async def test_dead_letters_have_a_retention_of_their_own(store: Store) -> None:
    await accept(store, "crm", "kafka")
    await settle_all(store, "crm", DEAD)
    await settle_all(store, "kafka", DONE)
    assert await purge(store, delivered_before=NOON + DAY, dead_before=NOON) == 0
    assert await purge(store, delivered_before=NOON + DAY, dead_before=NOON + DAY) == 1


async def test_retention_goes_step_by_step_the_oldest_first_and_walks_over_nothing_twice(store: Store) -> None:
    waiting = await accept(store, "crm")
    accepted = [await accept(store, received_at=NOON + timedelta(seconds=number)) for number in range(4)]
    young = await accept(store, received_at=NOON + 2 * DAY)
    forgotten, ends, after = [], [], 0
    for _ in range(3):
        step = await store.purge(delivered_before=NOON + DAY, dead_before=NOON, after=after, limit=2)
        forgotten.append(step.done)
        after = step.next or 0
        ends.append(step.next is None)
    assert forgotten == [1, 2, 1]
    assert ends == [False, False, True], "what comes then is too young"
    assert ids(await store.events()) == [young, waiting]
    assert len(accepted) == sum(forgotten)


async def test_a_mark_lives_as_long_as_what_was_delivered(store: Store) -> None:
    given = admission()
    await store.accept(given)
    await purge(store, delivered_before=NOON)
    assert (await store.accept(given)).duplicate is not None
    while await purge(store, delivered_before=NOON + DAY):
        pass
    again = event(uuid=given.event.uuid, body=given.event.body)
    assert (await store.accept(admission(of=again))).duplicate is None


async def test_reading_is_not_in_the_way_of_writing(store: Store) -> None:
    async with asyncio.timeout(30):
        results = await asyncio.gather(
            *(store.accept(admission("crm")) for _ in range(100)), *(store.totals() for _ in range(20))
        )
    assert len(results) == 120
    assert (await store.totals())["pending"] == 100
