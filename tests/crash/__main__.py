"""`python -m tests.crash --cycles 1000`: the long form of tests/acceptance/test_kill.py."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from random import SystemRandom
from typing import TypeAlias

from tests.crash.harness import run, run_point
from tests.crash.history import History
from tests.crash.points import POINTS
from tests.crash.process import ORDERED
from tests.crash.progress import progress

Told: TypeAlias = Callable[[History, list[str]], None]
Outcome: TypeAlias = tuple[History, list[str]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50, help="how often the relay is killed, at any moment")
    parser.add_argument("--points", type=int, default=0, help="instead: how often it is killed at each named point")
    parser.add_argument("--only", choices=list(POINTS), help="of the named points, only this one")
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of an earlier run")
    arguments = parser.parse_args()
    seed = SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}")
    if not arguments.points:
        return _tell(
            "", arguments.cycles, lambda folder, told: run(folder, cycles=arguments.cycles, seed=seed, told=told)
        )
    failed = 0
    for point in [arguments.only] if arguments.only else POINTS:

        def die(folder: Path, told: Told, point: str = point) -> Coroutine[None, None, Outcome]:
            return run_point(folder, point=point, times=arguments.points, seed=seed, told=told)

        failed |= _tell(f"{point}: ", arguments.points, die)
    return failed


def _tell(what: str, kills: int, work: Callable[[Path, Told], Coroutine[None, None, Outcome]]) -> int:
    """Do the work, show how far it is, and say what came of it. The exit code."""
    with tempfile.TemporaryDirectory(prefix="relay-crash-") as folder, progress(kills) as told:
        history, found = asyncio.run(work(Path(folder), told))
    _say(what + history.summary(ordered=ORDERED))
    for problem in found[:100]:
        _say(problem)
    _say(f"FAILED: {len(found)} problems" if found else "every promise was kept")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":  # multiprocessing imports it under another name
    raise SystemExit(main())
