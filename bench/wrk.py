"""wrk, the closed loop: so many connections, each of which posts its next webhook as soon as it has an answer.

The one on the path, or the one out of Debian's package, unpacked and not installed: `python -m bench.wrk` fetches it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from itertools import count
from pathlib import Path

import orjson

from bench.pool import Pool
from relay.model import value

FOLDER = Path.home() / ".cache" / "dyte-relay" / "wrk"
CONNECTIONS = 64
_UNPACKED = FOLDER / "usr" / "bin" / "wrk"
_SCRIPT = Path(__file__).with_name("load.lua")
_SECONDS = 300
_SPARE = 30.0
"""Seconds that wrk may take beyond its time."""
_LAPS = 4096
"""More often than this no run goes through the pool."""
_runs = count(1)


class NoWrk(Exception):
    """It is not here, and cannot be had."""


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


def find() -> Path:
    """Where wrk is."""
    found = shutil.which("wrk")
    if found is not None:
        return Path(found)
    if _UNPACKED.exists():
        return _UNPACKED
    raise NoWrk("no wrk: install it, or `make wrk` on Debian")


def fetch() -> Path:
    """Fetch it, unless it is here."""
    try:
        return find()
    except NoWrk:
        pass
    apt_get, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt_get is None or dpkg is None:
        raise NoWrk("no wrk, and no Debian to fetch it from: install wrk")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="relay-wrk-") as folder:
        if os.geteuid() == 0:
            subprocess.run([apt_get, "-qq", "update"], check=True, timeout=_SECONDS)
        subprocess.run([apt_get, "-qq", "download", "wrk"], check=True, timeout=_SECONDS, cwd=folder)
        [package] = Path(folder).glob("wrk_*.deb")
        subprocess.run([dpkg, "-x", str(package), str(FOLDER)], check=True, timeout=_SECONDS)
    return find()


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{fetch()}\n")
    except (NoWrk, subprocess.SubprocessError) as error:
        sys.exit(str(error))
