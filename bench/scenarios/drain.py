"""A sink comes back after an outage: how fast its backlog goes, and what live events wait for meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from bench.contenders import Server, relay
from bench.openloop import Answers, finish, percentile, sending
from bench.receiver import receiving
from bench.results import Section, Target
from bench.run import Run
from bench.scenarios.seeding import SINK, seeded
from relay.model import value

HTTP_PER_SECOND, KAFKA_PER_SECOND, LIVE_P99_MS = 2_000.0, 10_000.0, 1_000.0
LIVE_RATE = 100.0
DRAIN_TIME = 300.0
_POLL = 0.1
_SEEDED = "01931b2e-7f00-7000-8000-"
"""How the ids of seeded events begin."""


@value
class Outlet:
    """Where a backlog goes."""

    sink: Mapping[str, Any]
    count: Callable[[], int]
    taken: Callable[[], Mapping[str, float]]


@value
class Drain:
    """One of them; times in milliseconds."""

    kind: str
    waited: int
    seconds: float
    per_second: float
    cpu_us: float
    """For each delivery, live ones and what it took to accept them included."""
    live: int
    """Events that came meanwhile."""
    live_p99: float
    """From when such an event was due to its arrival at the sink."""
    live_most: float
    answer_p99: float
    no_good: int


def run(run: Run) -> Section:
    """Measure."""
    found = []
    for kind, outlet in (("HTTP", to_http), ("Kafka", _kafka)):
        with outlet(run) as opened:
            drain = _drain(run, kind, opened)
        run.say(f"{kind:6} {drain.per_second:8,.0f}/s  live events reach it with p99 {drain.live_p99:,.0f} ms")
        found.append(drain)
    http, kafka = found
    waiting = run.settings.backlog
    return Section(
        name="drain",
        title="A backlog goes",
        text=(
            f"The relay starts with {waiting:,} deliveries that wait for a sink, which takes everything again; and "
            f"{LIVE_RATE:g} webhooks a second come in meanwhile. Each event has its own time of arrival, at the "
            "receiver or in the topic."
        ),
        columns=(
            *("", "deliveries/s", "gone in", "CPU µs per delivery", "live events meanwhile"),
            *("live, due to arrived: p99", "max", "answer p99", "answers no 200"),
        ),
        rows=[_row(drain) for drain in found],
        targets=[
            Target.at_least(f"drain of {waiting:,} to HTTP", HTTP_PER_SECOND, http.per_second, "/s"),
            Target.at_least(f"drain of {waiting:,} to Kafka", KAFKA_PER_SECOND, kafka.per_second, "/s"),
            Target.at_most("live events during the drain to HTTP, p99", LIVE_P99_MS, http.live_p99, " ms"),
            Target.at_most("live events during the drain to Kafka, p99", LIVE_P99_MS, kafka.live_p99, " ms"),
        ],
        charts=[],
        raw=found,
    )


@contextmanager
def to_http(run: Run) -> Iterator[Outlet]:
    """A receiver that takes everything."""
    with receiving(run.place) as receiver:
        sink = {"type": "http", "url": receiver.url, "allow_private": True}
        yield Outlet(sink=sink, count=receiver.count, taken=receiver.taken)


@contextmanager
def _kafka(run: Run) -> Iterator[Outlet]:
    broker = run.broker()
    topic = broker.topic()
    sink = {"type": "kafka", "bootstrap_servers": broker.bootstrap, "topic": topic}
    yield Outlet(sink=sink, count=lambda: broker.size(topic), taken=lambda: broker.taken(topic))
    broker.forget(topic)


def _drain(run: Run, kind: str, outlet: Outlet) -> Drain:
    folder = seeded(run, run.settings.backlog)
    with relay({SINK: outlet.sink}, to=folder)(run.place) as server:
        return goes(run, kind, outlet, server, cpu=server.process.cpu)


def goes(run: Run, kind: str, outlet: Outlet, server: Server, *, cpu: Callable[[], float]) -> Drain:
    """Wait until the backlog of a relay that has just started is gone; `cpu` tells the processor time of all that is
    at work on it."""
    waiting, spent = run.settings.backlog, cpu()
    with sending(server.url, run.place.pool, rate=LIVE_RATE, seconds=DRAIN_TIME) as process:
        _wait(outlet, waiting, server)
        answers = finish(process)
    _wait(outlet, waiting + len(answers.ids) - answers.no_good, server)
    return _found(kind, outlet.taken(), answers, cpu() - spent)


def _found(kind: str, taken: Mapping[str, float], answers: Answers, cpu: float) -> Drain:
    old = [at for event, at in taken.items() if event.startswith(_SEEDED)]
    began, ended = min(old), max(old)
    due = dict(zip(answers.ids, answers.due, strict=True))
    live = [taken[event] - due[event] for event in due if event in taken and due[event] < ended]
    return Drain(
        kind=kind,
        waited=len(old),
        seconds=ended - began,
        per_second=len(old) / max(1e-3, ended - began),
        cpu_us=cpu / len(taken) * 1e6,
        live=len(live),
        live_p99=percentile(live or [0.0], 0.99),
        live_most=percentile(live or [0.0], 1.0),
        answer_p99=percentile(answers.seconds or [0.0], 0.99),
        no_good=answers.no_good,
    )


def _wait(outlet: Outlet, count: int, server: Server) -> None:
    deadline = monotonic() + DRAIN_TIME
    while (arrived := outlet.count()) < count:
        if monotonic() > deadline:
            raise TimeoutError(f"{arrived} of {count} arrived in {DRAIN_TIME} s:\n{server.process.told()}")
        sleep(_POLL)


def _row(drain: Drain) -> Sequence[str]:
    return (
        f"dyte-relay → {drain.kind}",
        f"{drain.per_second:,.0f}",
        f"{drain.seconds:.1f} s",
        f"{drain.cpu_us:,.0f}",
        f"{drain.live:,}",
        f"{drain.live_p99:,.0f} ms",
        f"{drain.live_most:,.0f} ms",
        f"{drain.answer_p99:.1f} ms",
        f"{drain.no_good}",
    )
