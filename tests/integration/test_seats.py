"""Two nodes, each with its own lanes, on one store: who may post to a place whose limit holds over both."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from itertools import accumulate
from random import Random

import pytest

from relay.errors import Unavailable
from relay.model import GateState, Reason, Retry, Wish
from relay.options import LaneOptions, Rate
from tests.fakes.admissions import NOON
from tests.fakes.hall import TERM
from tests.fakes.loop_time import turns
from tests.fakes.nodes import Node, Scene

TICK = 0.25
"""Seconds between two counts."""
LATE = timedelta(hours=1)


@pytest.fixture
async def scene(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    made = Scene(monkeypatch)
    async with made.stack:
        yield made
        made.time.run_on()  # whoever stops may wait for something


async def test_of_two_nodes_one_works_and_the_other_waits_without_asking(scene: Scene) -> None:
    scene.hall.fill("crm", 1000)
    one, two = await scene.node("one"), await scene.node("two")
    await scene.pass_by(60)
    assert one.sent in (60, 61, 62)
    assert (two.sent, scene.hall.asked["two"]) == (0, 0)


async def test_without_a_limit_both_work(scene: Scene) -> None:
    one, two = await scene.node("one", rate=None, concurrency=2), await scene.node("two", rate=None, concurrency=2)
    one.sink.hold()
    two.sink.hold()
    scene.hall.fill("crm", 4)
    await scene.pass_by(2)
    assert (one.sent, two.sent, scene.hall.seats) == (2, 2, {})
    one.sink.release()
    two.sink.release()


async def test_what_others_may_have_taken_over_is_not_begun(scene: Scene) -> None:
    """A node without a limit claims ahead; then it is frozen, others take it for dead, and it wakes up."""
    one = await scene.node("one", rate=None, concurrency=16)
    one.sink.hold()
    scene.hall.fill("crm", 100)
    await scene.pass_by(2)
    ahead = len(scene.hall.claimed) - one.sent
    assert (one.sent, ahead > 0) == (16, True)
    claimed = len(scene.hall.claimed)
    one.store.lapses += 1
    one.sink.release()
    await turns()
    begun = {delivery.id for delivery in one.sink.asked[16:]}
    assert begun.isdisjoint(number for _, number in scene.hall.claimed[16:claimed])
    given_back = [of for of, verdict in one.store.settled if isinstance(verdict, Retry)]
    assert len(given_back) == ahead
    await scene.pass_by(2)
    assert {delivery.id for delivery in one.sink.asked} == set(range(1, 101)), "claimed anew, all of them go"


async def test_a_node_that_is_cut_off_begins_nothing(scene: Scene) -> None:
    one = await scene.node("one", rate=None, concurrency=16)
    one.sink.hold()
    scene.hall.fill("crm", 100)
    await scene.pass_by(2)
    one.store.cut = True
    one.sink.release()
    await scene.pass_by(3)
    assert one.sent == 16
    one.store.cut = False
    await scene.pass_by(3)
    assert one.sent == 100


@pytest.mark.parametrize("rate", ["1/s", "10/s", "30/m"])
async def test_over_both_the_rate_is_kept_whatever_happens_to_them(scene: Scene, rate: str) -> None:
    """Ten minutes with a node that stops in order, is cut off, freezes or dies every few seconds; all that was sent, by
    whomever, keeps to the rate in every window."""
    per_second = Rate.parse(rate).per_second
    scene.hall.fill("crm", round(500 * per_second))
    dice, counts = Random(5), [0]
    nodes = [await scene.node(f"node {number}", rate=rate) for number in range(2)]
    everybody = list(nodes)

    def count() -> None:
        counts.append(sum(node.sent for node in everybody) - sum(counts))

    for _ in range(50):
        number = dice.randrange(2)
        await trouble(scene, nodes[number], dice.randrange(4), count)
        if not nodes[number].dispatcher._tasks:
            nodes[number] = await scene.node(f"node {len(everybody)}", rate=rate)
            everybody.append(nodes[number])
        await scene.pass_by(5, TICK, count)
    for start in range(0, len(counts), 3):
        for end, total in enumerate(accumulate(counts[start:])):
            assert total <= max(1.0, per_second) + per_second * (end + 1.2) * TICK, (start, end)
    assert sum(bool(node.sent) for node in everybody) > 10, "it changed hands"
    assert sum(counts) > 0.4 * per_second * len(counts) * TICK


async def trouble(scene: Scene, node: Node, kind: int, count: Callable[[], None]) -> None:
    """Something happens to a node, for longer than a seat lasts."""
    match kind:
        case 0:
            await node.stop()
        case 1:
            await node.die()
        case 2:
            node.store.freeze()
            await scene.pass_by(5, TICK, count)
            node.store.thaw()
        case _:
            node.store.cut = True
            await scene.pass_by(5, TICK, count)
            node.store.cut = False


async def test_a_dead_nodes_seat_is_taken_over_soon_after_its_term(scene: Scene) -> None:
    scene.hall.fill("crm", 1000)
    one, two = await scene.node("one"), await scene.node("two")
    await scene.pass_by(10)
    await one.die()
    died = scene.time.clock.now()
    before = one.sent
    while not two.sent:
        await scene.pass_by(0.1)
    assert scene.time.clock.now() - died <= TERM + timedelta(seconds=2.1), "a term, the next look, a second of its pace"
    assert one.sent == before


async def test_one_that_stops_in_order_hands_over_at_once_and_what_it_saved_up(scene: Scene) -> None:
    one, two = await scene.node("one", rate="1/m"), await scene.node("two", rate="1/m")
    await scene.pass_by(3)
    scene.hall.fill("crm", 5)
    await one.stop()
    await scene.pass_by(1.2)
    assert (one.sent, two.sent) == (0, 1), "nobody had sent anything for a minute"
    await two.stop()
    three = await scene.node("three", rate="1/m")
    await scene.pass_by(50)
    assert three.sent == 0
    await scene.pass_by(12)
    assert three.sent == 1


async def test_while_the_one_that_stops_drains_the_other_is_at_work(scene: Scene) -> None:
    one, two = await scene.node("one", rate="5/s"), await scene.node("two", rate="5/s")
    one.sink.hold()
    scene.hall.fill("crm", 50)
    await scene.pass_by(1.5)
    stopping = asyncio.create_task(one.stop())
    await turns()
    begun = one.sent
    await scene.pass_by(1.4)
    assert not stopping.done()
    assert (one.sent, two.sent > 0) == (begun, True)
    one.sink.release()
    await stopping
    assert not one.store.fenced


async def test_a_frozen_holder_sends_nothing_after_waking(scene: Scene) -> None:
    """What it had claimed when it froze goes back untouched, although its lease lasts for a minute."""
    one, two = await scene.node("one", rate="5/s"), await scene.node("two", rate="5/s")
    await scene.pass_by(2)
    one.store.freeze()
    scene.hall.fill("crm", 500)
    await scene.pass_by(1.1)
    assert len(scene.hall.claimed) == 5, "and the answer is under way"
    await one.look_away()
    await scene.pass_by(TERM.total_seconds() + 2)
    assert two.sent > 0
    one.store.thaw()
    await scene.pass_by(5)
    assert one.sent == 0
    given_back = [verdict for _, verdict in one.store.settled]
    assert len(given_back) == 5
    assert all(isinstance(verdict, Retry) and not verdict.counted for verdict in given_back)
    assert {row.delivery.tries for row in scene.hall.rows.values()} <= {0, 1}


async def test_a_claim_of_one_who_has_lost_the_seat_finds_nothing(scene: Scene) -> None:
    """By its own clock the seat is still its own: the store is asked in the same moment."""
    one = await scene.node("one")
    await scene.pass_by(2)
    await one.look_away()
    scene.hall.seats["place"].owner = "another"
    scene.hall.fill("crm", 5)
    asked = scene.hall.asked["one"]
    await scene.pass_by(1.2)
    assert (one.sent, scene.hall.asked["one"] > asked, one.lane.seated) == (0, True, True)


async def test_a_machine_that_slept_sends_nothing_before_it_has_asked(scene: Scene) -> None:
    """The monotonic clock stood still; only the wall clock tells."""
    one = await scene.node("one", rate="5/s")
    one.clock.correct(timedelta(0))
    await scene.pass_by(2)
    one.store.freeze()
    scene.hall.fill("crm", 50)
    await scene.pass_by(1.1)
    assert scene.hall.claimed, "and the answer is under way"
    await one.look_away()
    one.clock.jump(hours=1)
    one.store.thaw()
    await turns()
    assert one.sent == 0, "its seat is in doubt; another may have taken it"
    one.look_on()
    one.clock.correct(timedelta(0))
    await scene.pass_by(2)
    assert one.sent > 0


async def test_an_answer_that_was_under_way_while_the_machine_slept_grants_nothing(scene: Scene) -> None:
    one = await scene.node("one")
    await scene.pass_by(0.5)
    one.store.freeze()
    await scene.pass_by(1)
    one.clock.jump(hours=1)
    one.clock.now()
    one.store.cut = True
    one.store.thaw()
    await turns()
    assert not one.lane.seated
    one.store.cut = False
    await scene.pass_by(1.1)
    assert one.lane.seated


async def test_what_a_node_without_the_seat_tells_looks_like_no_fault(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scene.hall.fill("crm", 1000)
    one, two = await scene.node("one"), await scene.node("two")
    one.sink._choose = lambda _: Unavailable(Reason.UNAVAILABLE, "503")
    await scene.pass_by(20)
    assert one.metrics()['relay_sink_state{sink="crm",state="broken"}'] == 1
    assert [one.metrics()['relay_sink_seat{sink="crm"}'], two.metrics()['relay_sink_seat{sink="crm"}']] == [1, 0]
    assert {two.metrics()[f'relay_sink_state{{sink="crm",state="{state}"}}'] for state in GateState} == {0}
    assert {owner for _, owner in scene.hall.reports} == {"one"}
    await one.look_away()
    await scene.pass_by(6)
    one.look_on()
    await scene.pass_by(1.5)
    assert [one.metrics()['relay_sink_seat{sink="crm"}'], two.metrics()['relay_sink_seat{sink="crm"}']] == [0, 1]
    assert {one.metrics()[f'relay_sink_state{{sink="crm",state="{state}"}}'] for state in GateState} == {0}
    assert two.metrics()['relay_sink_state{sink="crm",state="open"}'] == 1
    assert {owner for _, owner in scene.hall.reports} == {"two"}
    said = Counter(record.message for record in caplog.records if record.message.startswith("seat."))
    assert said == {"seat.taken": 2, "seat.left": 1}


async def test_a_lane_of_other_options_goes_on_with_the_seat_of_its_place(scene: Scene) -> None:
    scene.hall.fill("crm", 100)
    one, two = await scene.node("one"), await scene.node("two")
    await scene.pass_by(5)
    old = one.lane
    new = one.make_lane(LaneOptions(rate=Rate.parse("1/s"), concurrency=3), old._pace, old.seat)
    one.dispatcher.put(new)
    await one.dispatcher.end([old])
    before = one.sent
    await scene.pass_by(5)
    assert (one.sent - before, two.sent) == (5, 0)


async def test_a_sink_that_is_taken_out_leaves_its_seat_to_others(scene: Scene) -> None:
    one, two = await scene.node("one"), await scene.node("two")
    await scene.pass_by(1)
    lane = one.dispatcher.take_out("crm")
    assert lane is not None
    await one.dispatcher.end([lane])
    await turns()
    assert scene.hall.seats["place"].until <= scene.time.clock.now()
    scene.hall.fill("crm", 3)
    await scene.pass_by(1.2)
    assert (one.sent, two.sent) == (0, 1)
    assert {owner for _, owner in scene.hall.reports} == {"two"}


async def test_a_pause_by_hand_holds_on_all_nodes_and_whoever_takes_over(scene: Scene) -> None:
    scene.hall.fill("crm", 1000)
    one, two = await scene.node("one", rate=None), await scene.node("two", rate=None)
    scene.hall.wished["crm"] = Wish(paused=True, at=NOON + LATE)
    await scene.pass_by(1.1)
    sent = one.sent + two.sent
    scene.hall.fill("crm", 1000)
    await scene.pass_by(20)
    assert one.sent + two.sent == sent
    assert [state for state, _ in scene.hall.reports.values()] == [GateState.PAUSED] * 2
    scene.hall.wished["crm"] = Wish(paused=False, at=NOON + 2 * LATE)
    await scene.pass_by(2)
    assert not scene.hall.rows


async def test_each_node_finds_by_itself_that_a_sink_is_broken(scene: Scene) -> None:
    """It may be the node's own network; the other goes on, and both say what they see."""
    scene.hall.fill("crm", 300)
    one, two = await scene.node("one", rate=None, concurrency=2), await scene.node("two", rate=None, concurrency=2)
    one.sink._choose = lambda _: Unavailable(Reason.CONNECT, "no route to host")
    scene.hall.fill("crm", 300)
    await scene.pass_by(120, 1.0)
    assert one.lane.gate.state is GateState.BROKEN
    assert scene.hall.reports["crm", "two"][0] is GateState.OPEN
    assert scene.hall.reports["crm", "one"][0] is GateState.BROKEN
    assert len(two.sink.taken) > 500


async def test_a_place_that_loses_its_limit_tells_of_no_seat(scene: Scene) -> None:
    """Of two sinks of one channel the other had the rate."""
    one = await scene.node("one")
    assert one.metrics()['relay_sink_seat{sink="crm"}'] == 1
    one.lane._pace.change(None)
    assert 'relay_sink_seat{sink="crm"}' not in one.metrics()
