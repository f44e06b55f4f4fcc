"""kill -9 under load: nothing that was acknowledged is lost, nothing is made up, little comes twice, and in order.

The suites themselves are tested too: each of them must see a relay that breaks its promise.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from random import SystemRandom

import pytest

from tests.crash.frozen import EVENTS, freeze_once
from tests.crash.harness import run, run_copies, run_point, run_stops, run_workers
from tests.crash.history import problems
from tests.crash.points import POINTS
from tests.crash.process import IN_FLIGHT, ORDERED

pytestmark = pytest.mark.timeout(180)  # a busy machine makes a run slower, and no promise is about that


@pytest.fixture
def seed() -> int:
    """Another one each time, or that of an earlier run."""
    chosen = int(os.environ.get("RELAY_CRASH_SEED") or SystemRandom().randrange(1 << 32))
    print(f"to repeat it: RELAY_CRASH_SEED={chosen}")  # noqa: T201 - shown where the test fails
    return chosen


# Fifty kills, in parts that can run at the same time.
@pytest.mark.parametrize("part", range(5))
async def test_no_kill_loses_an_acknowledged_event(tmp_path: Path, seed: int, part: int) -> None:
    history, found = await run(tmp_path, cycles=10, seed=seed, life=60)
    assert found == []
    assert history.kills == 10
    summary = history.summary(ordered=ORDERED)
    assert history.acknowledged > 50, summary
    assert all(len(history.arrived[sink]) > 50 for sink in IN_FLIGHT), summary
    assert any(not arrival.accepted for arrival in history.arrived["http"]), summary


@pytest.mark.parametrize("point", POINTS)
async def test_no_kill_at_a_named_point_loses_an_acknowledged_event(tmp_path: Path, seed: int, point: str) -> None:
    history, found = await run_point(tmp_path, point=point, times=3, seed=seed)
    assert found == []
    assert history.acknowledged >= 20, history.summary(ordered=ORDERED)


async def test_no_kill_of_a_worker_or_of_the_supervisor_loses_an_acknowledged_event(tmp_path: Path, seed: int) -> None:
    history, found = await run_workers(tmp_path, workers=2, kills=2, seed=seed)
    assert found == []
    assert history.kills == 3
    assert history.acknowledged >= 100, history.summary(ordered=ORDERED)


async def test_a_relay_that_is_asked_to_end_under_load_ends_in_order_and_loses_nothing(
    tmp_path: Path, seed: int
) -> None:
    history, found = await run_stops(tmp_path, times=4, seed=seed)
    assert found == []
    assert (history.kills, history.acknowledged >= 80) == (4, True), history.summary(ordered=ORDERED)


async def test_copies_that_come_at_the_same_time_are_one_event(tmp_path: Path, seed: int) -> None:
    assert await run_copies(tmp_path, copies=50, webhooks=2, seed=seed) == []


async def test_a_relay_that_was_frozen_beyond_its_leases_undoes_nothing(tmp_path: Path, seed: int) -> None:
    thawed = await freeze_once(tmp_path, seed=seed)
    assert problems(thawed.history, under_way={"http": EVENTS}) == []
    assert thawed.fenced == EVENTS


async def test_the_long_form_says_its_seed_first_and_what_it_found(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.crash", "--points", "1", "--only", "before_ack", "--seed", "7")
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    out, _ = await process.communicate()
    first, *_, last = out.decode().splitlines()
    assert (process.returncode, first, last) == (0, "seed 7", "every promise was kept")
    assert "2 kills" in out.decode()


# What the suites must see.


async def test_the_kills_find_an_answer_that_was_given_before_the_commit(tmp_path: Path, seed: int) -> None:
    _, found = await run_point(tmp_path, point="before_commit", times=2, seed=seed, broken="answer_before_commit")
    assert any("lost, though acknowledged" in problem for problem in found)


async def test_the_kills_find_what_counted_as_delivered_before_it_was_sent(tmp_path: Path, seed: int) -> None:
    _, found = await run_point(tmp_path, point="before_send", times=2, seed=seed, broken="done_before_sent")
    assert any("lost, though acknowledged" in problem for problem in found)


async def test_the_kills_find_a_sink_that_does_not_keep_the_order(tmp_path: Path, seed: int) -> None:
    _, found = await run_point(tmp_path, point="after_send", times=3, seed=seed, broken="no_order", meetings=1)
    assert any("inversions" in problem for problem in found)


async def test_the_copies_find_a_store_that_does_not_look_at_its_marks(tmp_path: Path, seed: int) -> None:
    found = await run_copies(tmp_path, copies=50, webhooks=2, seed=seed, broken="no_look_at_marks")
    assert any("event ids for one body" in problem for problem in found)


async def test_the_frost_finds_a_store_without_the_fence(tmp_path: Path, seed: int) -> None:
    thawed = await freeze_once(tmp_path, seed=seed, broken="no_fence")
    found = problems(thawed.history, under_way={"http": EVENTS})
    assert any("dead, though the sink has taken it" in problem for problem in found)
