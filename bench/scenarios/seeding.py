"""Stores that are full before anything is measured."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.run import Run
from tests.scale.seed import Seeded, seed

SINK = "downstream"
"""For it each of their events waits."""
_AGE = timedelta(hours=2)


def seeded(run: Run, count: int) -> Path:
    """A new folder with a store in which so many events wait, safe on disk, so that no one pays for that later."""
    folder = run.place.fresh(f"stored-{count}")
    run.say(f"seeding {count:,} events")
    seed(folder / "relay.db", events=count, sinks=[Seeded(SINK)], oldest=datetime.now(UTC) - _AGE)
    os.sync()
    return folder
