"""One turn of one contender in a closed loop, and what several of them come to."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

from bench import wrk
from bench.contenders import Contender, Place, Server
from bench.processes import busy
from relay.model import value

WARM_UP = 2.0
"""Seconds of load before each measurement: code is compiled, caches fill, connections open."""
DRAIN_TIME = 120.0
"""Longer than this nobody waits for a backlog to end."""
_POLL = 0.02

Arrived = Callable[[], int]
"""How many events have arrived, at the sink that is the last to get them."""


@value
class Turn:
    """One contender, one round."""

    contender: str
    round: int
    events: int
    """Answered with less than 400, in the seconds of load."""
    seconds: float
    """Of load, and of the drain after it."""
    per_second: float
    cpu_us: float
    """Microseconds of processor time for each event, of the server's own processes."""
    refused: int
    broken: int
    duplicates: int
    """Events that the relay took for repeats, warm-up included; 0 is right."""
    own_share: float
    """Of the time of load, in which the server's own processes were at work; a lower share than `server_core` is what
    others took from it."""
    server_core: float
    """Share of the time of load in which the server's core was at work, for whomever."""
    load_core: float
    left: int = 0
    """Deliveries that waited when the load ended."""
    drain: float = 0.0
    """Seconds until the last of them had arrived."""


@value
class Spread:
    """Several figures in one."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: Iterable[float]) -> Spread:
        """Of at least one figure."""
        known = list(figures)
        return cls(median=statistics.median(known), low=min(known), high=max(known))


def in_turns(
    contenders: Sequence[Contender], place: Place, *, rounds: int, measure: Callable[[Contender, Place, int], Turn]
) -> Iterator[Turn]:
    """Each contender in each round, and another one first each time, so that no one always follows the same."""
    for number in range(rounds):
        first = number % len(contenders)
        for contender in (*contenders[first:], *contenders[:first]):
            yield measure(contender, place, number + 1)


def closed_loop(
    tool: Path,
    contender: Contender,
    place: Place,
    number: int,
    *,
    seconds: float,
    warm_up: float = WARM_UP,
    arrived: Arrived | None = None,
) -> Turn:
    """Start it, warm it up, post as much as it answers, and wait until `arrived` has counted all of it."""
    with contender.start(place) as server:
        before = 0 if arrived is None else arrived()
        warm = wrk.post(tool, server.url, place.pool, seconds=warm_up).good if warm_up else 0
        taken = _taken(server, warm)
        if arrived is not None:
            drained(arrived, before + taken, server)
        cpu, cores = server.process.cpu(), _busy(place)
        posted = wrk.post(tool, server.url, place.pool, seconds=seconds)
        server_core, load_core = _shares(cores, _busy(place))
        own = server.process.cpu() - cpu
        events = posted.good
        left, drain = 0, 0.0
        if arrived is not None:
            expected = before + _taken(server, taken + posted.good)
            left = max(0, expected - arrived())
            drain = drained(arrived, expected, server)
        total = posted.seconds + drain
        return Turn(
            contender=contender.name,
            round=number,
            events=events,
            seconds=total,
            per_second=events / total,
            cpu_us=(server.process.cpu() - cpu) / max(1, events) * 1e6,
            refused=posted.refused,
            broken=posted.broken,
            duplicates=duplicates(server),
            own_share=own / posted.seconds,
            server_core=server_core,
            load_core=load_core,
            left=left,
            drain=drain,
        )


def _taken(server: Server, answered: int) -> int:
    """Events that it has taken since it started; only the relay can tell what wrk ended without reading."""
    return accepted(server) if server.admin else answered


def accepted(server: Server) -> int:
    """Events that the relay has taken since it started."""
    found = server.metrics()
    return round(sum(found[name] for name in found if name.startswith("relay_events_total{")))


def duplicates(server: Server) -> int:
    """Events that the relay took for repeats since it started."""
    found = server.metrics() if server.admin else {}
    return round(sum(found[name] for name in found if name.startswith("relay_duplicates_total{")))


def drained(arrived: Arrived, expected: int, server: Server) -> float:
    """Seconds until so many have arrived."""
    began = monotonic()
    while arrived() < expected:
        if monotonic() - began > DRAIN_TIME:
            raise TimeoutError(f"{arrived()} of {expected} events arrived in {DRAIN_TIME} s:\n{server.process.told()}")
        sleep(_POLL)
    return monotonic() - began


def _busy(place: Place) -> tuple[tuple[float, float], tuple[float, float]]:
    return busy(place.cores.server), busy(place.cores.load)


def _shares(
    before: tuple[tuple[float, float], tuple[float, float]], after: tuple[tuple[float, float], tuple[float, float]]
) -> tuple[float, float]:
    server, load = (
        (worked_then - worked) / max(1e-9, there_then - there)
        for (worked, there), (worked_then, there_then) in zip(before, after, strict=True)
    )
    return server, load
