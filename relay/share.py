"""What one of several processes does of a relay: it takes webhooks in like all others, and works off some of the sinks.

Every limit of a sink (its rate, its concurrency, its gate) is kept by its lane, in memory. So each lane lives in one
process only, and sinks that share a pace live together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Protocol

from relay.config import Config
from relay.model import value
from relay.ports import Intake, Store


class Bells(Protocol):
    """Wakes lanes of other processes."""

    lanes: Mapping[str, int]
    """The number of the worker that has the lane, by sink; set anew when they are dealt anew."""

    def join(self, store: Store) -> Intake:
        """From now on wake this store's lanes; what is accepted by what is returned also wakes the lanes elsewhere."""


@value
class Share:
    """The part of one worker."""

    number: int
    """From 1."""
    workers: int
    owner: str
    """The name under which it holds leases."""
    lanes: Mapping[str, int]
    """The number of the worker that has the lane, by sink."""
    listen: str
    """Where it takes webhooks in, as all others do."""
    bells: Bells

    @property
    def mine(self) -> Collection[str]:
        """The sinks that it works off."""
        return {sink for sink, number in self.lanes.items() if number == self.number}


def deal(config: Config, before: Mapping[str, int], *, workers: int) -> Mapping[str, int]:
    """Which worker has the lane of which place, by what its pace is counted for.

    A place stays where it was; a new one goes to the worker that has the fewest.
    """
    places = list(dict.fromkeys(options.pacing_key(name) for name, options in config.sinks.items() if options.enabled))
    dealt = {place: before[place] for place in places if place in before}
    load = Counter(dict.fromkeys(range(1, workers + 1), 0))
    load.update(dealt.values())
    for place in places:
        if place not in dealt:
            dealt[place] = min(load, key=lambda number: (load[number], number))
            load[dealt[place]] += 1
    return dealt


def lanes_of(config: Config, dealt: Mapping[str, int]) -> Mapping[str, int]:
    """The same by sink."""
    return {name: dealt[options.pacing_key(name)] for name, options in config.sinks.items() if options.enabled}
