"""A relay that dies at a point of its own, or that breaks its promise on purpose. All of it is done from outside.

`python -m tests.crash.doomed before_commit 3 serve -c relay.yaml` is `relay serve` that SIGKILL ends at the third
passage of that point.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import relay.gate
from relay.cli import main
from relay.gate import Wait
from relay.leases import Leases
from relay.options import LaneOptions
from tests.crash.broken import BROKEN
from tests.crash.patching import wrap
from tests.crash.points import POINTS, Fuse

_QUICK = Wait(first=0.02, longest=0.05)


@dataclass(frozen=True)
class Plan:
    """What is done to a relay from outside; without any of it, nothing."""

    point: str = ""
    """Where it dies; empty: nowhere."""
    passage: int = 1
    """At which passage of the point, counted from 1."""
    broken: str = ""
    """Which promise it breaks; empty: none."""
    lease: timedelta | None = None
    """The length of every lease, instead of the product's own of at least a minute."""
    quick_probes: bool = False
    """A broken sink is probed soon again, so that a run sees many probes."""


def run(plan: Plan, arguments: Sequence[str], log: Any = None) -> None:
    """Be this relay. What it logs goes into `log`, a connection, if one is given."""
    if log is not None:
        os.dup2(log.fileno(), 2)
        log.close()
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)  # the old one remembers what the old file could do
    prepare(plan)
    main(list(arguments))


def prepare(plan: Plan) -> None:
    """Do to this process what the plan says."""
    if plan.quick_probes:
        vars(relay.gate)["BREAKER_WAIT"] = _QUICK
    if plan.lease is not None:
        wrap(LaneOptions, "lease", lambda _: property(lambda _: plan.lease))
        # The product's own last for three attempts; in one that is shorter, an attempt shall begin all the same.
        wrap(Leases, "lasts", lambda _: lambda *_: True)
    if plan.broken:
        BROKEN[plan.broken]()
    if plan.point:
        POINTS[plan.point].install(Fuse(plan.passage))


if __name__ == "__main__":
    run(Plan(point=sys.argv[1], passage=int(sys.argv[2])), sys.argv[3:])
