"""What durability costs: the relay taking events in, beside a handler that only verifies them."""

from __future__ import annotations

from bench.contenders import ACCEPTING, BARE, FLOOR, ROW, STORING
from bench.measure import Spread, in_turns
from bench.results import (
    THROUGHPUT,
    Section,
    Target,
    by_contender,
    oddities,
    ratios,
    throughput_chart,
    throughput_row,
)
from bench.run import Run

MEDIAN, LOWEST = 0.85, 0.75
_ALL = (BARE, FLOOR, ROW, STORING, ACCEPTING)


def run(run: Run) -> Section:
    """Measure."""
    turns = list(in_turns(_ALL, run.place, rounds=run.settings.rounds, measure=run.turn))
    found = by_contender(turns)
    ratio = ratios(found, ACCEPTING.name, FLOOR.name)
    floor, ours = (Spread.of(turn.cpu_us for turn in found[who.name]).median for who in (FLOOR, ACCEPTING))
    return Section(
        name="accept",
        title="Taking events in",
        text=(
            "The relay verifies, parses, matches routes, commits with `synchronous=FULL` and answers; its only sink is "
            "disabled, so each event is stored with a delivery that waits. Beside it an aiohttp handler that reads the "
            "body, verifies the signature and answers, and one that does not even verify: both store nothing. Between "
            "them stands what keeping alone costs: the verifying handler with one row for each event behind it (its "
            "body, in groups, with the same durability), and with the relay's store behind it but nothing else of it."
        ),
        columns=THROUGHPUT,
        rows=[throughput_row(contender, found[contender.name]) for contender in _ALL],
        targets=[
            Target.at_least("accepting / aiohttp with verification, median over the rounds", MEDIAN, ratio.median),
            Target.at_least("the same, in the worst round", LOWEST, ratio.low),
        ],
        charts=[throughput_chart("accept", "Webhooks taken in by one process on one core", _ALL, turns)],
        raw=turns,
        notes=[
            f"Processor time for an event: {ours / floor:.2f} times the verifying handler's, {ours - floor:+,.0f} µs.",
            *oddities(turns),
        ],
    )
