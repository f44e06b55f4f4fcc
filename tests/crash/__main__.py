"""`python -m tests.crash --cycles 1000`: the long form of tests/acceptance/test_kill.py."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from random import SystemRandom

from tests.crash.harness import IN_FLIGHT, run
from tests.crash.history import History, problems


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50, help="how often the relay is killed")
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of an earlier run")
    arguments = parser.parse_args()
    seed = SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}\n")

    def progress(history: History) -> None:
        _say(f"\r{history.kills}/{arguments.cycles} kills, {len(history.sent)} sent ")

    with tempfile.TemporaryDirectory(prefix="relay-crash-") as folder:
        history = asyncio.run(run(Path(folder), cycles=arguments.cycles, seed=seed, told=progress))
    found = problems(history, in_flight=IN_FLIGHT)
    _say("\r" + history.summary() + "\n")
    for problem in found:
        _say(problem + "\n")
    _say("FAILED\n" if found else "every promise was kept\n")
    return 1 if found else 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


raise SystemExit(main())
