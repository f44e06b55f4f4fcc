"""The relay on a store with a million deliveries that wait, compared with an empty one: `make million`.

Sinks hang, are slow or take everything; webhooks come in all the while. Nothing is asserted here: the figures depend on
the machine, so they are shown beside their targets.
"""

# ruff: noqa: T201 - it is a command, and prints what it found

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from tests.running import sender
from tests.scale.load import Load, Receivers, RelayProcess, configured, receiving
from tests.scale.seed import Seeded, seed

SINKS = (Seeded("hangs"), Seeded("slow", ordered=True), Seeded("takes"))


@dataclass
class Figures:
    """What one run showed, in seconds and MiB."""

    listening: float = 0.0
    ready: float = 0.0
    peak: float = 0.0
    answers: Sequence[float] = ()
    refused: int = 0
    scrapes: list[float] = field(default_factory=list)
    listing: float = 0.0
    delivered: Mapping[str, int] = field(default_factory=dict)


async def measure(folder: Path, receivers: Receivers, *, rate: int, seconds: float) -> Figures:
    """Start the relay on the store in this folder, send webhooks at it, and watch."""
    figures, before = Figures(), dict(receivers.taken)
    config = configured(folder, receivers)
    load = Load.signed(rate=rate, seconds=seconds)
    async with RelayProcess.started(config) as relay, sender(f"http://{relay.gateway}") as posting:
        figures.listening = relay.listening_after
        figures.ready = await relay.ready()
        scraping = asyncio.create_task(_scrape(relay, figures.scrapes, every=seconds / 10))
        figures.answers, figures.refused = await load.post(posting)
        figures.listing = await relay.sinks_list()
        await scraping
        figures.peak = relay.peak_mib()
    figures.delivered = {name: count - before[name] for name, count in receivers.taken.items()}
    return figures


async def _scrape(relay: RelayProcess, scrapes: list[float], *, every: float) -> None:
    for _ in range(10):
        scrapes.append(await relay.scrape())
        await asyncio.sleep(every)


async def claims(path: Path) -> Sequence[float]:
    """How long claims of a hundred take, from the lane's side, commit and all; sorted."""
    from relay.stores.sqlite import SqliteStore  # noqa: PLC0415 - the relay must not be loaded while it is measured

    store, took = await SqliteStore.open(path), []
    for sink in SINKS:
        for _ in range(100):
            started = perf_counter()
            await store.claim(sink.name, limit=100, now=datetime.now(UTC), lease=timedelta(minutes=1))
            took.append(perf_counter() - started)
    await store.close()
    return sorted(took)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of sorted figures."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def report(name: str, figures: Figures) -> None:
    """Say what was seen."""
    answers = figures.answers
    print(f"\n{name}")
    print(f"  listening after        {figures.listening:8.2f} s    (target 3)")
    print(f"  ready after            {figures.ready:8.2f} s    (target 5)")
    print(f"  memory at most         {figures.peak:8.0f} MiB  (target 250)")
    print(f"  answers                {len(answers):8d}, of them not 200: {figures.refused}")
    for share, label in ((0.5, "p50"), (0.99, "p99"), (1.0, "max")):
        print(f"  answer {label}             {quantile(answers, share) * 1000:8.1f} ms")
    print(f"  /metrics at most       {max(figures.scrapes) * 1000:8.1f} ms")
    print(f"  relay sinks list       {figures.listing:8.2f} s")
    print(f"  sinks took             {figures.delivered}")


async def main(*, deliveries: int, rate: int, seconds: float, keep: Path | None) -> None:
    """Both runs, one after the other."""
    folder = Path(tempfile.mkdtemp(prefix="relay-million-")) if keep is None else keep
    async with receiving() as receivers:
        try:
            (folder / "empty").mkdir(parents=True)
            (folder / "full").mkdir()
            started = perf_counter()
            oldest = datetime.now(UTC) - timedelta(hours=2)
            seed(folder / "full" / "relay.db", events=deliveries // len(SINKS), sinks=SINKS, oldest=oldest)
            print(f"seeded {deliveries} deliveries in {perf_counter() - started:.0f} s")
            for name in ("empty", "full"):
                report(name, await measure(folder / name, receivers, rate=rate, seconds=seconds))
            took = await claims(folder / "full" / "relay.db")
            print(f"\nclaims of 100: p50 {quantile(took, 0.5) * 1000:.1f} ms, p99 {quantile(took, 0.99) * 1000:.1f} ms")
        finally:
            if keep is None:
                shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deliveries", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=200, help="webhooks a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--keep", type=Path, help="an empty folder for the stores, which then stay")
    sys.exit(asyncio.run(main(**vars(parser.parse_args()))))
