"""`make bench-soak`: the relay over millions of events, and whether it grows.

Laps of load in a closed loop, each followed by a drain, so that what waits is none at each look: memory, file
descriptors, threads, asyncio tasks, and the store. Events are kept for a minute, so that the store reaches its size
within the first laps. The first fifth is for warming up; then memory should grow by less than 5 %, and of the others
there should not be more at the end than there were.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep

from bench import wrk
from bench.contenders import Place, Server, relay
from bench.machine import machine, versions
from bench.measure import accepted, drained
from bench.pool import pool
from bench.processes import Cores
from bench.receiver import receiving
from bench.report import Report
from bench.results import Section, Target
from bench.run import BUILD, Settings
from relay.model import value

GROWTH = 0.05
_LAP = 20.0
"""Seconds of load."""
_WARM = 0.2
"""Share of the laps."""
_ENDS = 5
"""So many looks at most make the beginning, and so many the end."""
_RETENTION = {"delivered": "1m", "dead": "1m"}
_TELLING = 10.0
_ROWS = 20


@value
class Look:
    """What there was after a lap, with nothing under way."""

    events: int
    minutes: float
    memory: float
    """MiB."""
    descriptors: int
    threads: int
    tasks: int
    store: float
    """MiB, of all its files."""


def soak(events: int, place: Place) -> Sequence[Look]:
    """Laps until so many events have been taken in and delivered."""
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving(place, "forgets"))
        sink = {"downstream": {"type": "http", "url": receiver.url, "allow_private": True}}
        folder = place.fresh("soak")
        told = folder / "tasks"
        start = relay(sink, to=folder, module=("bench.watched", str(told)), retention=_RETENTION)
        server = stack.enter_context(start(place))
        looks, began, tool = list[Look](), monotonic(), wrk.WRK.fetch()
        while not looks or looks[-1].events < events:
            wrk.post(tool, server.url, place.pool, seconds=_LAP)
            drained(receiver.count, accepted(server), server)
            looks.append(_look(server, folder, told, minutes=(monotonic() - began) / 60))
            _say(looks[-1])
        return looks


def _look(server: Server, folder: Path, told: Path, *, minutes: float) -> Look:
    process = server.process
    return Look(
        events=accepted(server),
        minutes=minutes,
        memory=process.memory(),
        descriptors=process.descriptors(),
        threads=process.threads(),
        tasks=_tasks(process.pid, told),
        store=sum(file.stat().st_size for file in folder.glob("relay.db*")) / 1024**2,
    )


def _tasks(pid: int, told: Path) -> int:
    told.unlink(missing_ok=True)
    os.kill(pid, signal.SIGUSR2)
    deadline = monotonic() + _TELLING
    while not told.exists():
        if monotonic() > deadline:
            raise TimeoutError("the relay does not say how many tasks it has")
        sleep(0.05)
    return int(told.read_text())


def section(looks: Sequence[Look]) -> Section:
    """What they come to."""
    warm = looks[int(_WARM * len(looks)) :]
    ends = min(_ENDS, max(1, len(warm) // 3))
    first, last = warm[:ends], warm[-ends:]
    growth = _median(last, "memory") / _median(first, "memory") - 1
    step = max(1, len(looks) // _ROWS)
    return Section(
        name="soak",
        title="Whether it grows",
        text=(
            f"{looks[-1].events:,} events through one relay with an HTTP sink, in laps of {_LAP:g} s of load, each "
            "followed by a drain. Events are kept for a minute. Compared are the medians of "
            f"{len(first)} looks after the first fifth and of the last {len(last)}."
        ),
        columns=("events", "after", "memory", "descriptors", "threads", "tasks", "store"),
        rows=[_row(look) for look in (*looks[:-1:step], looks[-1])],
        targets=[
            Target(
                what=f"growth of memory over {looks[-1].events:,} events",
                wanted=f"< {GROWTH:.0%}",
                found=f"{growth:+.1%}",
                met=growth < GROWTH,
            ),
            *(_no_more(name, first, last) for name in ("descriptors", "threads", "tasks")),
        ],
        charts=[],
        raw=looks,
    )


def _no_more(name: str, first: Sequence[Look], last: Sequence[Look]) -> Target:
    before, after = _median(first, name), _median(last, name)
    what = {"descriptors": "file descriptors", "threads": "threads", "tasks": "tasks"}[name]
    return Target(what=f"{what} at the end", wanted=f"≤ {before:g}", found=f"{after:g}", met=after <= before)


def _median(looks: Sequence[Look], name: str) -> float:
    return float(statistics.median(getattr(look, name) for look in looks))


def _row(look: Look) -> Sequence[str]:
    return (
        f"{look.events:,}",
        f"{look.minutes:.1f} min",
        f"{look.memory:.1f} MiB",
        f"{look.descriptors}",
        f"{look.threads}",
        f"{look.tasks}",
        f"{look.store:.0f} MiB",
    )


def _say(look: Look) -> None:
    sys.stderr.write("  ".join(_row(look)) + "\n")
    sys.stderr.flush()


def main() -> int:
    """Soak, write the report, and print it."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--out", type=Path, help="folder for the report; build/bench/soak without it")
    given = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    began, started, surroundings, cores = datetime.now(UTC), monotonic(), machine(BUILD), Cores.choose()
    cores.watch()
    with tempfile.TemporaryDirectory(dir=BUILD, prefix="soak-") as folder:
        webhooks = pool(BUILD)
        looks = soak(given.events, Place(Path(folder), webhooks, cores))
    report = Report(
        command=f"make bench-soak EVENTS={given.events}",
        began=began,
        minutes=(monotonic() - started) / 60,
        machine=surroundings,
        versions=versions(),
        settings=replace(Settings(), rounds=len(looks), seconds=_LAP),
        median_body=webhooks.median_body,
        sections=[section(looks)],
        missing={},
    )
    report.write(given.out or BUILD / "soak")
    sys.stdout.write(report.markdown())
    return 0 if all(target.met for target in report.targets) else 1


if __name__ == "__main__":
    raise SystemExit(main())
