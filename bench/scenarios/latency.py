"""How long the sender waits, at a steady rate: with sinks that take everything, that hang, and that have a backlog."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.charts import Bar, Chart
from bench.contenders import Contender, relay
from bench.measure import Spread
from bench.openloop import open_loop, percentile
from bench.receiver import receiving
from bench.results import Section, Target
from bench.run import Run
from bench.scenarios.seeding import SINK, seeded
from relay.model import value

P99_MS, MAX_MS, RATIO = 50.0, 2500.0, 1.2
_HEALTHY, _HUNG, _BACKLOG = "healthy", "hung", "backlog"
_LABELS = {_HEALTHY: "sink healthy", _HUNG: "sink hung", _BACKLOG: "sink hung, backlog"}


@value
class Latency:
    """One turn; times in milliseconds."""

    state: str
    round: int
    answers: int
    no_good: int
    p50: float
    p99: float
    p999: float
    most: float
    late_p99: float
    """Of the generator itself."""


def run(run: Run) -> Section:
    """Measure."""
    rate, waiting = run.settings.rate, run.settings.backlog
    found: dict[str, list[Latency]] = {state: [] for state in _LABELS}
    with _places(run) as (sinks, folder):
        for number in range(run.settings.rounds):
            states = list(_LABELS)[number % 3 :] + list(_LABELS)[: number % 3]
            for state in states:
                to = folder if state == _BACKLOG else None
                start = relay({SINK: sinks[state]}, to=to)
                turn = _turn(run, Contender(name=state, label=_LABELS[state], start=start), number + 1)
                found[state].append(turn)
    healthy = found[_HEALTHY]
    ratios = {
        state: Spread.of(turn.p99 / well.p99 for turn, well in zip(found[state], healthy, strict=True))
        for state in (_HUNG, _BACKLOG)
    }
    return Section(
        name="latency",
        title="How long the sender waits",
        text=(
            f"{rate:,.0f} webhooks a second, whether or not earlier ones are answered (Poisson arrivals), from the "
            f"moment at which each was due to its answer. The relay has one HTTP sink. It takes everything; or it "
            f"takes requests and never answers; or that, and {waiting:,} deliveries wait for it."
        ),
        columns=("", "p50", "p99 (median)", "p99, range", "p99.9", "max", "answers no 200", "generator late, p99"),
        rows=[_row(_LABELS[state], turns) for state, turns in found.items()],
        targets=[
            Target.at_most(f"p99 at {rate:,.0f}/s (median)", P99_MS, Spread.of(t.p99 for t in healthy).median, " ms"),
            Target.at_most(f"longest answer at {rate:,.0f}/s", MAX_MS, max(t.most for t in healthy), " ms"),
            _compared("p99, sink hung / healthy (median)", ratios[_HUNG], healthy),
            _compared(f"p99, sink hung and {waiting:,} wait / healthy (median)", ratios[_BACKLOG], healthy),
        ],
        charts=[_chart(found, rate)],
        raw=[turn for turns in found.values() for turn in turns],
    )


def _compared(what: str, ratio: Spread, healthy: Sequence[Latency]) -> Target:
    """As good as something that is too slow itself is not good."""
    target = Target.at_most(what, RATIO, ratio.median)
    if Spread.of(turn.p99 for turn in healthy).median <= P99_MS:
        return target
    return replace(target, found=f"{target.found}, of a healthy p99 that is too high", met=False)


@contextmanager
def _places(run: Run) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """The sink of each state, and a folder with a store in which a backlog waits."""
    folder = seeded(run, run.settings.backlog)
    with receiving(run.place) as well, receiving(run.place, "hangs") as hung:
        taking, hanging = (
            {"type": "http", "url": receiver.url, "allow_private": True, "timeout": "10s"} for receiver in (well, hung)
        )
        yield {_HEALTHY: taking, _HUNG: hanging, _BACKLOG: hanging}, folder


def _turn(run: Run, contender: Contender, number: int) -> Latency:
    settings = run.settings
    with contender.start(run.place) as server:
        if settings.warm_up:
            open_loop(server.url, run.place.pool, rate=settings.rate, seconds=settings.warm_up)
        answers = open_loop(server.url, run.place.pool, rate=settings.rate, seconds=settings.seconds)
    turn = Latency(
        state=contender.name,
        round=number,
        answers=len(answers.seconds),
        no_good=answers.no_good,
        p50=percentile(answers.seconds, 0.5),
        p99=percentile(answers.seconds, 0.99),
        p999=percentile(answers.seconds, 0.999),
        most=percentile(answers.seconds, 1.0),
        late_p99=percentile(answers.late, 0.99),
    )
    run.say(f"round {number}  {contender.label:38} p50 {turn.p50:6.2f}  p99 {turn.p99:6.2f}  max {turn.most:7.2f} ms")
    return turn


def _row(label: str, turns: Sequence[Latency]) -> Sequence[str]:
    p99 = Spread.of(turn.p99 for turn in turns)
    return (
        label,
        f"{Spread.of(turn.p50 for turn in turns).median:.1f} ms",
        f"{p99.median:.1f} ms",
        f"{p99.low:.1f} to {p99.high:.1f} ms",
        f"{Spread.of(turn.p999 for turn in turns).median:.1f} ms",
        f"{max(turn.most for turn in turns):.1f} ms",
        f"{sum(turn.no_good for turn in turns)} of {sum(turn.answers for turn in turns):,}",
        f"{max(turn.late_p99 for turn in turns):.2f} ms at most",
    )


def _chart(found: Mapping[str, Sequence[Latency]], rate: float) -> Chart:
    bars = [
        Bar(label=_LABELS[state], spread=Spread.of(turn.p99 for turn in turns), ours=True)
        for state, turns in found.items()
    ]
    return Chart(name="latency", title=f"99th percentile of the relay's answers at {rate:,.0f}/s", unit="ms", bars=bars)
