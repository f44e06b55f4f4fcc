"""A store that has grown: what an event costs then, how the relay starts, and how fast it finds what is due.

`make million` looks closer, with sinks of several kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from bench.contenders import DISABLED, Contender, relay
from bench.measure import Spread, in_turns
from bench.openloop import open_loop, percentile
from bench.receiver import receiving
from bench.results import THROUGHPUT, Section, Target, by_contender, oddities, throughput_row
from bench.run import Run
from bench.scenarios.seeding import SINK, seeded
from relay.model import value
from relay.stores.sqlite import SqliteStore

FLAT, CLAIM_P99_MS, LISTENING_S, MEMORY_MIB = 0.10, 10.0, 3.0, 250.0
_FEW = 1_000
_CLAIMS, _AT_ONCE = 200, 100
_RATE = 200.0


@value
class Start:
    """The relay started on the large store, its sink enabled and hanging."""

    listening: float
    """Seconds."""
    memory: float
    """MiB, at most, with webhooks coming in for a while."""
    no_good: int


def run(run: Run) -> Section:
    """Measure."""
    few, many = (seeded(run, count) for count in (_FEW, run.settings.stored))
    contenders = [
        Contender(name=f"{count}", label=f"{count:,} events stored", start=relay(DISABLED, to=folder))
        for count, folder in ((_FEW, few), (run.settings.stored, many))
    ]
    turns = list(in_turns(contenders, run.place, rounds=run.settings.rounds, measure=run.turn))
    found = by_contender(turns)
    start, claims = _start(run, many), asyncio.run(_claims(many / "relay.db"))
    run.say(
        f"listening after {start.listening:.2f} s, {start.memory:.0f} MiB, claims p99 {percentile(claims, 0.99):.1f} ms"
    )
    small, large = (Spread.of(turn.cpu_us for turn in found[contender.name]).median for contender in contenders)
    stored = f"{run.settings.stored:,}"
    return Section(
        name="million",
        title="A store that has grown",
        text=(
            f"Accepting, as above, with {_FEW:,} and with {stored} events in the store, for each of which a delivery "
            "waits. Then the relay starts on the large one with its sink enabled, which hangs, while webhooks come "
            f"in, and claims of {_AT_ONCE} deliveries are made, one after the other, commit and all."
        ),
        columns=THROUGHPUT,
        rows=[throughput_row(contender, found[contender.name]) for contender in contenders],
        targets=[
            _flat(f"CPU per event with {stored} stored / with {_FEW:,}", large / small),
            Target.at_most(f"claim of {_AT_ONCE} among {stored}, p99", CLAIM_P99_MS, percentile(claims, 0.99), " ms"),
            Target.at_most(f"start with {stored} that wait: listening", LISTENING_S, start.listening, " s"),
            Target.at_most(f"memory with {stored} that wait, at most", MEMORY_MIB, start.memory, " MiB"),
        ],
        charts=[],
        raw={"turns": turns, "start": start, "claims": claims},
        notes=oddities(turns),
    )


def _flat(what: str, ratio: float) -> Target:
    low, high = 1 - FLAT, 1 + FLAT
    return Target(what=what, wanted=f"{low:g} to {high:g}", found=f"{ratio:.3g}", met=low <= ratio <= high)


def _start(run: Run, folder: Path) -> Start:
    with receiving(run.place, "hangs") as receiver:
        sink = {"type": "http", "url": receiver.url, "allow_private": True}
        with relay({SINK: sink}, to=folder)(run.place) as server:
            answers = open_loop(server.url, run.place.pool, rate=_RATE, seconds=run.settings.seconds)
            memory = server.process.peak_memory()
    return Start(listening=server.listening_after, memory=memory, no_good=answers.no_good)


async def _claims(path: Path) -> Sequence[float]:
    """Seconds that each took."""
    store, took = await SqliteStore.open(path), []
    for _ in range(_CLAIMS):
        started = perf_counter()
        claimed = await store.claim(SINK, limit=_AT_ONCE, now=datetime.now(UTC), lease=timedelta(minutes=10))
        took.append(perf_counter() - started)
        if len(claimed) < _AT_ONCE:
            break
    await store.close()
    return took
