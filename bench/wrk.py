"""wrk, the closed loop: so many connections, each of which posts its next webhook as soon as it has an answer.

`python -m bench.wrk` fetches it.
"""

from __future__ import annotations

import subprocess
from itertools import count
from pathlib import Path

import orjson

from bench.pool import Pool
from relay.model import value
from tests.debian import Program

WRK = Program(name="wrk", package="wrk", hint="install it", libraries=("libluajit-5.1-2",))
CONNECTIONS = 64
_SCRIPT = Path(__file__).with_name("load.lua")
_SPARE = 30.0
"""Seconds that wrk may take beyond its time."""
_LAPS = 4096
"""More often than this no run goes through the pool."""
_runs = count(1)


@value
class Posted:
    """What one run of wrk saw."""

    answers: int
    seconds: float
    refused: int
    """Answers of 400 and more."""
    broken: int
    """Connections that failed, and answers that took too long."""

    @property
    def good(self) -> int:
        """Answers of less than 400."""
        return self.answers - self.refused


def first_lap() -> int:
    """A number with which the uuids of a run may begin; those of no other run do."""
    return next(_runs) * _LAPS


def post(wrk: Path, url: str, pool: Pool, *, seconds: float, connections: int = CONNECTIONS) -> Posted:
    """Post as much as is answered, for so long."""
    command = [str(wrk), "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(_SCRIPT), url]
    command += ["--", str(pool.path), str(first_lap())]
    done = subprocess.run(command, check=True, capture_output=True, timeout=seconds + _SPARE)
    said = orjson.loads(done.stdout.splitlines()[-1])
    return Posted(
        answers=said["requests"],
        seconds=said["microseconds"] / 1e6,
        refused=said["refused"],
        broken=said["broken"],
    )


if __name__ == "__main__":
    WRK.main()
