"""`python -m tests.fuzz --count 1000000`: the long form of tests/fuzz/test_requests.py."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from random import SystemRandom
from time import monotonic

from tests.fuzz.drive import Findings, run

_EVERY = 10_000
_MOST_GROWTH = 1.1
"""How much memory may grow after the first inputs; over a million, ten bytes that each of them leaves show."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="how many inputs")
    parser.add_argument("--seed", type=int, default=None, help="repeat an earlier run")
    arguments = parser.parse_args()
    seed = SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    sys.stdout.write(f"seed {seed}\n")
    started = monotonic()

    memory: list[float] = []

    def told(findings: Findings) -> None:
        if findings.total >= _EVERY * (len(memory) + 1):
            memory.append(_memory())
            sys.stdout.write(f"{findings.total} answers, {monotonic() - started:.0f} s, {memory[-1]:.0f} MiB\n")
            sys.stdout.flush()

    findings, answered = asyncio.run(run(arguments.count, seed, told=told))
    for name, count in sorted(findings.answers.items()):
        sys.stdout.write(f"{name:20} {count}\n")
    sys.stdout.write(f"{'no answer':20} {findings.silent}\n")
    for made, answer in findings.unplanned[:20]:
        sys.stdout.write(f"UNPLANNED {answer!r}\n  for {made!r}\n")
    for made in findings.hung[:20]:
        sys.stdout.write(f"HUNG {made!r}\n")
    grown = memory[-1] / memory[0] if memory else 1.0
    sys.stdout.write(f"memory at the end / after the first {_EVERY}: {grown:.3f}\n")
    bad = bool(findings.unplanned or findings.hung or answered != 20 or grown > _MOST_GROWTH)
    sys.stdout.write("FAILED\n" if bad else "nothing crashed, hung or answered what was not planned\n")
    return int(bad)


def _memory() -> float:
    """MiB that this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


if __name__ == "__main__":
    raise SystemExit(main())
