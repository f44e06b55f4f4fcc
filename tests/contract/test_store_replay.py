"""The store's contract, part four: sending again, and giving an event what it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from datetime import datetime, timedelta
from typing import Any

import pytest

from relay.model import (
    Dead,
    Delivered,
    Delivery,
    DeliveryState,
    EventState,
    Failure,
    Quarantine,
    Reason,
    Retry,
    Selection,
    Target,
    Verdict,
)
from relay.ports import Store
from relay.records import DeliveryRecord, Step
from tests.fakes.admissions import NOON, admission, event

LEASE = timedelta(seconds=60)
SECOND = timedelta(seconds=1)
LATER = NOON + timedelta(hours=1)
DONE = Delivered(receipt="200")
DEAD = Dead(failure=Failure(reason=Reason.REFUSED, detail="the service answered 400"))


async def accept(store: Store, *sinks: str, order_key: str | None = None, **given: Any) -> str:
    accepted = admission(*sinks, of=event(**given), order_key=order_key)
    await store.accept(accepted)
    return accepted.event.id


async def claim(store: Store, now: datetime = NOON, *, sink: str = "crm", limit: int = 100) -> Sequence[Delivery]:
    return await store.claim(sink, limit=limit, now=now, lease=LEASE)


async def settle(store: Store, verdict: Verdict, *deliveries: Delivery, now: datetime = NOON) -> Sequence[bool]:
    return await store.settle([(delivery, verdict) for delivery in deliveries], now=now)


async def settled(store: Store, verdict: Verdict, *sinks: str, **given: Any) -> str:
    """An event whose deliveries all ended so."""
    event_id = await accept(store, *(sinks or ("crm",)), **given)
    for sink in sinks or ("crm",):
        await settle(store, verdict, *await claim(store, LATER, sink=sink))
    return event_id


async def replay(
    store: Store, selection: Selection | None = None, *, at: datetime = LATER, spacing: timedelta = timedelta(0)
) -> int:
    """All in one step."""
    step = await store.replay(selection or Selection(), now=at, first_at=at, spacing=spacing, limit=1000)
    assert step.next is None
    return step.done


def only(*states: DeliveryState, **more: object) -> Selection:
    return Selection(states=frozenset(states), **more)  # type: ignore[arg-type]


async def record(store: Store, event_id: str, sink: str = "crm") -> DeliveryRecord:
    [found] = await store.deliveries(event_id=event_id, sink=sink)
    return found


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.event.id for delivery in deliveries]


@pytest.mark.parametrize("verdict", [DONE, DEAD], ids=["delivered", "dead"])
async def test_a_replay_starts_over_with_a_mark_and_a_whole_budget(store: Store, verdict: Verdict) -> None:
    event_id = await settled(store, verdict)
    assert await replay(store) == 1
    [again] = await claim(store, LATER)
    assert (again.event.id, again.replay, again.tries, again.owed_since) == (event_id, 1, 1, LATER)
    assert await settle(store, DONE, again) == [True]
    assert await replay(store) == 1
    [third] = await claim(store, LATER)
    assert third.replay == 2


async def test_the_history_of_a_dead_letter_stays(store: Store) -> None:
    event_id = await settled(store, DEAD)
    await replay(store)
    found = await record(store, event_id)
    assert (found.state, found.reason, found.settled_at) == (DeliveryState.PENDING, "", None)
    assert [attempt.detail for attempt in found.attempts] == ["the service answered 400"]


async def test_a_result_of_the_first_life_does_not_settle_the_second(store: Store) -> None:
    await accept(store, "crm")
    [first] = await claim(store)
    await settle(store, DEAD, first)
    await replay(store)
    assert await settle(store, DONE, first) == [False]
    assert len(await claim(store, LATER)) == 1


async def test_replays_are_spaced_and_the_oldest_go_first(store: Store) -> None:
    events = [await settled(store, DONE) for _ in range(3)]
    assert await replay(store, spacing=10 * SECOND) == 3
    for number, event_id in enumerate(events):
        now = LATER + number * 10 * SECOND
        assert ids(await claim(store, now - SECOND)) == []
        assert await store.next_due("crm") == min(now, LATER + LEASE) if number else now
        [due] = await claim(store, now)
        assert due.event.id == event_id
        await settle(store, DONE, due, now=now)


async def test_what_comes_in_goes_before_replays_that_were_due_long_ago(store: Store) -> None:
    old = [await settled(store, DONE) for _ in range(3)]
    await replay(store, at=NOON)
    fresh = [await accept(store, "crm", received_at=LATER) for _ in range(2)]
    assert ids(await claim(store, LATER, limit=1)) == fresh[:1]
    assert ids(await claim(store, LATER, limit=2)) == [fresh[1], old[0]]
    assert ids(await claim(store, LATER)) == old[1:]


async def test_replays_of_one_meeting_keep_their_order_and_hold_up_nothing_that_comes_in(store: Store) -> None:
    old = [await settled(store, DEAD, order_key="m", meeting="m") for _ in range(3)]
    assert await replay(store) == 3
    fresh = await accept(store, "crm", order_key="m", meeting="m")
    seen = []
    for _ in range(3):
        claimed = await claim(store, LATER)
        seen.append(ids(claimed))
        await settle(store, DONE, *claimed, now=LATER)
    assert seen == [[fresh, old[0]], [old[1]], [old[2]]]


async def test_the_next_of_a_meeting_keeps_to_the_spacing_too(store: Store) -> None:
    for _ in range(2):
        await settled(store, DEAD, order_key="m", meeting="m")
    await replay(store, spacing=10 * SECOND)
    await settle(store, DONE, *await claim(store, LATER), now=LATER)
    assert await claim(store, LATER + 9 * SECOND) == []
    assert len(await claim(store, LATER + 10 * SECOND)) == 1


async def test_a_pending_one_is_hurried_and_is_no_replay(store: Store) -> None:
    event_id = await accept(store, "crm")
    [first] = await claim(store)
    await settle(store, Retry(failure=DEAD.failure, at=NOON + 9 * LEASE), first)
    assert await replay(store, at=NOON + SECOND) == 1
    [hurried] = await claim(store, NOON + SECOND)
    assert (hurried.event.id, hurried.replay, hurried.tries) == (event_id, 0, 1)
    assert await replay(store, at=NOON + SECOND) == 0, "somebody is at work on it"


async def test_planned_replays_are_hurried_too_and_keep_their_order(store: Store) -> None:
    events = [await settled(store, DEAD, order_key="m", meeting="m") for _ in range(3)]
    assert await replay(store, spacing=timedelta(days=365)) == 3
    [first] = await claim(store, LATER)
    await settle(store, DONE, first, now=LATER)
    assert await claim(store, LATER) == [], "the next one is planned for next year"
    assert await replay(store, only(DeliveryState.PENDING)) == 2
    for event_id in events[1:]:
        [due] = await claim(store, LATER)
        assert (due.event.id, due.replay) == (event_id, 1)
        await settle(store, DONE, due, now=LATER)


async def test_a_selection_takes_what_it_names_and_nothing_else(store: Store) -> None:
    dead = await settled(store, DEAD, "crm", "audit", meeting="m", source="one", received_at=NOON, type="a.b")
    done = await settled(store, DONE, "crm", meeting="n", source="two", received_at=LATER, type="a.c")
    for selection, count in (
        (Selection(), 3),
        (only(DeliveryState.DEAD), 2),
        (only(DeliveryState.DELIVERED, DeliveryState.PENDING), 1),
        (Selection(event_id=dead), 2),
        (Selection(meeting="n"), 1),
        (Selection(source="one"), 2),
        (Selection(type_glob="*.c"), 1),
        (Selection(sink="crm"), 2),
        (Selection(sink="crm", event_id=dead), 1),
        (Selection(route="to-audit"), 0),
        (Selection(since=LATER), 1),
        (Selection(until=LATER), 2),
        (Selection(since=NOON, until=NOON), 0),
        (only(), 0),
    ):
        tallied = await store.tally(selection)
        assert sum(tally.count for tally in tallied) == count, selection
    assert await replay(store, Selection(event_id=done)) == 1
    assert [tally.state for tally in await store.tally(Selection(sink="crm"))] == ["dead", "pending"]


async def test_what_is_accepted_later_lies_beyond_the_end(store: Store) -> None:
    assert await store.end() == 0
    early = await settled(store, DONE, received_at=LATER)
    end = await store.end()
    late = await settled(store, DONE, received_at=NOON)  # the clock was put back
    assert await store.end() > end
    assert [tally.count for tally in await store.tally(Selection(upto=end))] == [1]
    assert [each.event.id for each in (await store.selected(Selection(upto=end), limit=9)).done] == [early]
    assert await replay(store, Selection(upto=end)) == 1
    assert [(await record(store, each)).replay for each in (early, late)] == [1, 0]


async def test_a_replay_goes_in_steps(store: Store) -> None:
    for _ in range(5):
        await settled(store, DONE)
    done, ends, after = [], [], 0
    for _ in range(3):
        step: Step[int] = await store.replay(
            only(DeliveryState.DELIVERED), now=LATER, first_at=LATER, spacing=timedelta(0), after=after, limit=2
        )
        done.append(step.done)
        after = step.next or 0
        ends.append(step.next is None)
    assert done == [2, 2, 1]
    assert ends == [False, False, True]


async def redeliver(
    store: Store,
    *wanted: tuple[str, Sequence[Target]],
    states: Set[DeliveryState] = frozenset(),
    spacing: timedelta = timedelta(0),
) -> tuple[int, int]:
    """How many were added, and how many replayed."""
    made = await store.redeliver(wanted, states=states, now=LATER, first_at=LATER, spacing=spacing, config="hash")
    return made.added, made.replayed


async def test_an_event_gets_the_deliveries_that_it_lacks(store: Store) -> None:
    event_id = await settled(store, DONE, "crm")
    targets = [Target(route="new", sink="crm"), Target(route="new", sink="audit")]
    assert await redeliver(store, (event_id, targets)) == (1, 0)
    assert await redeliver(store, (event_id, targets)) == (0, 0)
    [added] = await claim(store, LATER, sink="audit")
    assert (added.event.id, added.route, added.replay) == (event_id, "new", 1)
    assert (await record(store, event_id, "audit")).config == "hash"
    assert (await record(store, event_id)).state is DeliveryState.DELIVERED


async def test_the_ones_that_it_has_are_replayed_where_their_state_is_meant(store: Store) -> None:
    dead, done = await settled(store, DEAD), await settled(store, DONE)
    targets = [Target(route="new", sink="crm"), Target(route="new", sink="audit")]
    wanted = [(dead, targets), (done, targets)]
    assert await redeliver(store, *wanted, states={DeliveryState.DEAD}, spacing=SECOND) == (2, 1)
    again = await record(store, dead)
    assert (again.state, again.replay, again.route) == (DeliveryState.PENDING, 1, "everything"), "it keeps its route"
    assert (await record(store, done)).state is DeliveryState.DELIVERED
    dues = [(await record(store, event, sink)).due_at for event, sink in ((dead, "crm"), (dead, "audit"))]
    assert dues == [LATER, LATER + SECOND]
    assert (await record(store, done, "audit")).due_at == LATER + 2 * SECOND


async def test_an_event_that_is_not_there_gets_nothing(store: Store) -> None:
    assert await redeliver(store, ("nothing", [Target(route="new", sink="crm")])) == (0, 0)
    assert await store.totals() == {}


@pytest.mark.parametrize("quarantine", [None, Quarantine.ORGANIZATION])
async def test_what_had_no_deliveries_is_routed_then(store: Store, quarantine: Quarantine | None) -> None:
    given = admission(quarantine=quarantine)
    await store.accept(given)
    assert await redeliver(store, (given.event.id, [])) == (0, 0)
    assert (await store.totals()).get("routed", 0) == 0
    await redeliver(store, (given.event.id, [Target(route="new", sink="crm")]))
    found = await store.event(given.event.id)
    assert found is not None
    assert (found.state, found.detail) == (EventState.ROUTED, "")
    assert await store.totals() == {"routed": 1, "pending": 1}


async def test_ordered_ones_that_are_added_go_one_after_the_other(store: Store) -> None:
    events = [await accept(store, meeting="m") for _ in range(2)]
    await redeliver(store, *((each, [Target(route="r", sink="crm", order_key="m")]) for each in events))
    [first] = await claim(store, LATER)
    assert first.event.id == events[0]
    await settle(store, DONE, first, now=LATER)
    assert ids(await claim(store, LATER)) == events[1:]


async def test_added_and_replayed_ones_of_a_meeting_go_in_the_order_of_their_events(store: Store) -> None:
    events = [
        await settled(store, DEAD, order_key="m", meeting="m"),
        await accept(store, meeting="m"),
        await settled(store, DEAD, order_key="m", meeting="m"),
        await accept(store, meeting="m"),
    ]
    target = [Target(route="r", sink="crm", order_key="m")]
    made = await redeliver(store, *((each, target) for each in events), states={DeliveryState.DEAD})
    assert made == (2, 2)
    seen = []
    for _ in events:
        [due] = await claim(store, LATER)
        seen.append(due.event.id)
        await settle(store, DONE, due, now=LATER)
    assert seen == events


async def test_what_waits_for_its_turn_says_for_which_one(store: Store) -> None:
    old = [await settled(store, DEAD, order_key="m", meeting="m") for _ in range(3)]
    await replay(store)
    fresh = [await accept(store, "crm", order_key="m", meeting="m") for _ in range(3)]
    for events in (old, fresh):
        for waiting in events[1:]:
            first = await store.ahead((await record(store, waiting)).id)
            assert first is not None
            assert first.event_id == events[0]
        assert await store.ahead((await record(store, events[0])).id) is None
    assert await store.ahead(10**9) is None


async def test_whether_somebody_is_at_work_on_it_is_known(store: Store) -> None:
    event_id = await accept(store, "crm")
    assert not (await record(store, event_id)).leased
    [held] = await claim(store)
    assert (await record(store, event_id)).leased
    await settle(store, Retry(failure=DEAD.failure, at=LATER), held)
    assert not (await record(store, event_id)).leased


async def test_a_replay_is_owed_since_it_was_asked_for(store: Store) -> None:
    """An old event that is sent again is no backlog of its age."""
    await settled(store, DONE)
    await replay(store)
    assert (await store.backlog())["crm"].oldest == LATER
    await accept(store, "crm", received_at=NOON + SECOND)
    assert (await store.backlog())["crm"].oldest == NOON + SECOND
    [found] = await store.sinks()
    assert (found.pending, found.replays, found.oldest) == (2, 1, NOON + SECOND)


async def test_the_selected_events_come_in_order_and_in_steps(store: Store) -> None:
    events = [await accept(store, *sinks, meeting="m") for sinks in ((), ("crm",), ())]
    await accept(store, meeting="another")
    first = await store.selected(Selection(meeting="m"), limit=2)
    assert [each.event.id for each in first.done] == events[:2]
    assert first.next is not None
    second = await store.selected(Selection(meeting="m"), after=first.next, limit=2)
    assert ([each.event.id for each in second.done], second.next) == (events[2:], None)


async def test_a_replay_while_lanes_work_loses_and_doubles_nothing(store: Store) -> None:
    events = [await settled(store, DONE) for _ in range(40)]
    seen: list[str] = []

    async def work() -> None:
        while len(seen) < len(events):
            claimed = await claim(store, LATER, limit=3)
            seen.extend(ids(claimed))
            await settle(store, DONE, *claimed, now=LATER)

    async def again() -> None:
        after: int | None = 0
        while after is not None:
            step = await store.replay(
                only(DeliveryState.DELIVERED, until=LATER),
                now=LATER,
                first_at=LATER,
                spacing=timedelta(0),
                after=after,
                limit=7,
            )
            after = step.next

    async with asyncio.timeout(30):
        await asyncio.gather(work(), again())
    assert sorted(seen) == sorted(events)
