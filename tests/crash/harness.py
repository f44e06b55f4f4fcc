"""Start, load, kill, start again; now and then let everything arrive, and collect what did."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from tests.crash.doomed import Plan
from tests.crash.history import History
from tests.crash.points import POINTS, SERVE, Point
from tests.crash.senders import MEETINGS
from tests.crash.stage import WHOLE, Stage, stage
from tests.crash.stored import Book

CHECK_EVERY = 25
"""Cycles after which everything is let arrive, and checked: a long run must not find at its end what broke early."""
LIFE = 260
_SOME = 20
"""Acknowledged events that make a store one that holds something."""
KILL_EARLY = 0.15
"""Share of the relays that are killed as they start: a crash while the last crash is made good."""


async def run(
    folder: Path,
    *,
    cycles: int,
    seed: int,
    life: int = LIFE,
    book: Book | None = None,
    told: Callable[[History, list[str]], None] = lambda *_: None,
) -> tuple[History, list[str]]:
    """Kill a relay so many times, at any moment; what happened, and all that is wrong with it.

    `life` is what the longest-lived acknowledges: counted, so that a busy machine makes a run slower and not weaker.
    `told` is called after each kill, with what is known to be wrong so far. A run ends early where something is.
    """
    rng, found = Random(seed), list[str]()
    async with stage(folder, rng, book=book) as at:
        at.keep_pace()
        for cycle in range(1, cycles + 1):
            await _live(at, more=rng.randint(0, life), rng=rng)
            if cycle % CHECK_EVERY == 0 or cycle == cycles:
                await at.drain()
                found = at.problems()
            told(at.history, found)
            if found:
                break
    return at.history, found


async def _live(at: Stage, *, more: int, rng: Random) -> None:
    """One relay's life: it acknowledges so many more events, or ends as it starts."""
    relay = await at.start(WHOLE)
    try:
        if rng.random() > KILL_EARLY:
            await at.loaded(relay, more=more)
        await asyncio.sleep(rng.uniform(0.0, 0.05))  # the moment of the kill: any
    finally:
        await at.killed(relay)


async def run_point(
    folder: Path,
    *,
    point: str,
    times: int,
    seed: int,
    broken: str = "",
    meetings: int = MEETINGS,
    told: Callable[[History, list[str]], None] = lambda *_: None,
) -> tuple[History, list[str]]:
    """Let so many relays die at a named point, each at another passage; then a whole one makes it good."""
    rng, where = Random(seed), POINTS[point]
    async with stage(folder, rng, meetings=meetings) as at:
        if where.on_data:
            await _live_on(at)
        for _ in range(times):
            await _die(at, point, where, replace(WHOLE, broken=broken), rng)
            told(at.history, [])
        await _live_on(at)  # the store takes new events too, not only what is left
        await at.drain()
        return at.history, at.problems()


async def _live_on(at: Stage) -> None:
    whole = await at.start(WHOLE)
    try:
        await at.loaded(whole, more=_SOME)
    finally:
        await at.killed(whole)


async def run_stops(folder: Path, *, times: int, seed: int) -> tuple[History, list[str]]:
    """Ask a relay to end so many times while it is under load; then a last one makes good what waits."""
    async with stage(folder, Random(seed)) as at:
        for _ in range(times):
            relay = await at.start(WHOLE)
            try:
                await at.loaded(relay, more=_SOME)
                await at.stopped(relay)
            finally:
                await relay.gone()
        await at.drain()
        return at.history, at.problems()


async def run_workers(folder: Path, *, workers: int, kills: int, seed: int) -> tuple[History, list[str]]:
    """Kill so many workers of a relay under load, one after the other, and at last the supervisor; then a relay of one
    process makes good what waits."""
    rng = Random(seed)
    async with stage(folder, rng) as at:
        relay = await at.start(WHOLE, command=(*SERVE, "--workers", str(workers)))
        try:
            for count in range(1, kills + 1):
                await at.loaded(relay, more=_SOME)
                relay.kill_worker(rng.randint(1, workers))
                at.history.kills += 1
                await at.loaded(relay, more=_SOME)  # the others go on, and the new one joins them
                await at.logged(relay, "worker.begun", workers + count)
            await at.loaded(relay, more=_SOME)
        finally:
            await at.killed(relay)
        await at.drain()
        return at.history, at.problems()


async def run_copies(folder: Path, *, copies: int, webhooks: int, seed: int, broken: str = "") -> list[str]:
    """Post the same webhook many times at once, and some webhooks so; then kill, and look what became of them."""
    async with stage(folder, Random(seed)) as at:
        relay = await at.start(replace(WHOLE, broken=broken))
        try:
            for _ in range(webhooks):
                await at.copies(relay, copies)
        finally:
            await at.killed(relay)
        await at.drain()
        return at.problems()


async def _die(at: Stage, point: str, where: Point, plan: Plan, rng: Random) -> None:
    doomed = await at.start(replace(plan, point=point, passage=rng.randint(1, where.most)), command=where.command)
    try:
        await at.load(doomed)
    finally:
        await at.died(doomed, point)
