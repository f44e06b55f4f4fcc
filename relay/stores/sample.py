"""How fast sinks settle, told from samples: settled deliveries have no index by time, as it would cost every settle.

What was settled a moment ago is what came in last, or what stood just before the next delivery in a queue.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from relay.stores.rows import Row, to_micros

WINDOW = timedelta(minutes=1)
SAMPLE = 2000
"""Deliveries that are looked at before the end and before each queue's head."""


def paces(samples: Iterable[Sequence[Row]], *, now: datetime, size: int) -> Mapping[str, float]:
    """Deliveries a second, by sink. A sample is a row for each delivery: id, sink, when it was settled. One that has
    `size` of them does not reach back to the first delivery."""
    start, until = to_micros(now - WINDOW), to_micros(now)
    settled: dict[str, dict[int, int]] = defaultdict(dict)
    whole = True
    for rows in samples:
        whole = whole and len(rows) < size
        for delivery, sink, at in rows:
            if at is not None and at <= until:
                settled[sink][delivery] = at
    return {
        sink: pace
        for sink, times in settled.items()
        if (pace := _pace(list(times.values()), start=start, now=until, whole=whole))
    }


def _pace(times: list[int], *, start: int, now: int, whole: bool) -> float:
    """A sample that does not reach back to the start of the window tells of a shorter time."""
    recent = [at for at in times if at >= start]
    if not recent:
        return 0.0
    reaches = whole or len(recent) < len(times)
    seconds = (now - (start if reaches else min(recent))) / 1e6
    return len(recent) / max(1.0, seconds)
