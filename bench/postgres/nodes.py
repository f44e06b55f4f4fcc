"""Turns of one or more relays on a PostgreSQL database, or of one on SQLite, and what they cost: relay and database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench import wrk
from bench.contenders import Server, relay
from bench.measure import Arrived, accepted, drained, duplicates
from bench.pool import Pool, parts
from bench.postgres.server import Database
from bench.processes import busy
from bench.run import Run
from relay.model import value


@value
class Way:
    """How events are taken in."""

    contender: str
    label: str
    nodes: int = 1
    """0: on SQLite."""
    everywhere: bool = False
    """Relays and server have all cores; else the relay has one to itself, and the server shares that of the load."""


@value
class NodesTurn:
    """One way, one round."""

    contender: str
    round: int
    events: int
    """Answered with less than 400, in the seconds of load."""
    seconds: float
    """Of load, and of the drain after it."""
    per_second: float
    node_us: float
    """Microseconds of processor time for each event, of the relays' own processes."""
    database_us: float
    """The same, of the server's."""
    together: float
    """Events in one commit."""
    log_bytes: float
    """That the server wrote to its log, for each event."""
    flushes: float
    """Of the server's log, for each event."""
    refused: int
    broken: int
    duplicates: int
    server_core: float
    load_core: float
    left: int = 0
    drain: float = 0.0

    @property
    def cpu_us(self) -> float:
        """All of it."""
        return self.node_us + self.database_us


class Nodes:
    """Relays that run, and the server that they share."""

    def __init__(self, servers: Sequence[Server], database: Database | None) -> None:
        self.servers = servers
        self.database = database

    def cpu(self) -> tuple[float, float]:
        """Seconds of processor time so far: the relays', the server's."""
        own = sum(server.process.cpu() for server in self.servers)
        return own, 0.0 if self.database is None else self.database.cpu()

    def log_bytes(self) -> int:
        """Of the server's log."""
        return 0 if self.database is None else self.database.log_bytes()

    def accepted(self) -> int:
        """Events."""
        return sum(map(accepted, self.servers))

    def duplicates(self) -> int:
        """Events that were taken for repeats."""
        return sum(map(duplicates, self.servers))

    def commits(self) -> float:
        """That they have made so far."""
        return sum(server.metrics()["relay_commit_seconds_count"] for server in self.servers)

    def post(self, tool: Path, pools: Sequence[Pool], *, seconds: float) -> Sequence[wrk.Posted]:
        """Post to all of them at the same time, with as many connections to each as to a single one."""
        one = partial(wrk.post, tool, seconds=seconds)
        with ThreadPoolExecutor(len(self.servers)) as threads:
            return list(threads.map(one, [server.url for server in self.servers], pools))


@contextmanager
def running(run: Run, way: Way, sinks: Any, *, database: Database, url: str) -> Iterator[Nodes]:
    """Start relays on this database."""
    cores = run.place.cores
    database.pin(cores.all if way.everywhere else [cores.load])
    more: dict[str, Any] = {"store": url} if way.nodes else {}
    start = relay(sinks, everywhere=way.everywhere, **more)
    with ExitStack() as stack:
        servers = [stack.enter_context(start(run.place)) for _ in range(max(1, way.nodes))]
        yield Nodes(servers, database if way.nodes else None)


def turn(
    run: Run, way: Way, sinks: Any, number: int, *, database: Database, arrived: Arrived | None = None
) -> NodesTurn:
    """Relays on a new database, warmed up, and then posted to as fast as they answer."""
    with database.fresh() as url:
        flushes = database.flushes()
        with running(run, way, sinks, database=database, url=url) as nodes:
            found = _measured(run, way, nodes, number, arrived)
            events = nodes.accepted()
        flushed = (database.flushes() - flushes) / max(1, events) if way.nodes else 0.0
    found = replace(found, flushes=flushed)
    spent = f"{found.node_us:5,.0f} + {found.database_us:4,.0f} µs"
    run.say(f"round {number}  {way.label:38} {found.per_second:8,.0f}/s {spent}  {found.together:5.1f} a commit")
    return found


def _measured(run: Run, way: Way, nodes: Nodes, number: int, arrived: Arrived | None) -> NodesTurn:
    settings, place = run.settings, run.place
    pools = parts(place.pool, len(nodes.servers), place.fresh("pools"))
    before = 0 if arrived is None else arrived()
    if settings.warm_up:
        nodes.post(run.wrk, pools, seconds=settings.warm_up)
    if arrived is not None:
        drained(arrived, before + nodes.accepted(), nodes.servers[0])
    cpu, commits, written = nodes.cpu(), nodes.commits(), nodes.log_bytes()
    cores = busy(place.cores.server), busy(place.cores.load)
    posted = nodes.post(run.wrk, pools, seconds=settings.seconds)
    shares = [
        _share(then, busy(core)) for then, core in zip(cores, (place.cores.server, place.cores.load), strict=True)
    ]
    events, left, drain = sum(each.good for each in posted), 0, 0.0
    commits = nodes.commits() - commits
    if arrived is not None:
        expected = before + nodes.accepted()
        left = max(0, expected - arrived())
        drain = drained(arrived, expected, nodes.servers[0])
    seconds = max(each.seconds for each in posted) + drain
    node_us, database_us = ((now - then) / max(1, events) * 1e6 for now, then in zip(nodes.cpu(), cpu, strict=True))
    return NodesTurn(
        contender=way.contender,
        round=number,
        events=events,
        seconds=seconds,
        per_second=events / seconds,
        node_us=node_us,
        database_us=database_us,
        together=events / max(1.0, commits),
        log_bytes=(nodes.log_bytes() - written) / max(1, events),
        flushes=0.0,
        refused=sum(each.refused for each in posted),
        broken=sum(each.broken for each in posted),
        duplicates=nodes.duplicates(),
        server_core=shares[0],
        load_core=shares[1],
        left=left,
        drain=drain,
    )


def _share(before: tuple[float, float], after: tuple[float, float]) -> float:
    return (after[0] - before[0]) / max(1e-9, after[1] - before[1])
