"""The two hand-written receivers without Kafka: what verification alone leaves of their speed."""

from __future__ import annotations

from bench import handwritten
from bench.contenders import FLOOR
from bench.measure import in_turns
from bench.results import THROUGHPUT, Section, by_contender, oddities, throughput_chart, throughput_row
from bench.run import Run


def run(run: Run) -> Section:
    """Measure."""
    contenders = (FLOOR, *handwritten.contenders())
    turns = list(in_turns(contenders, run.place, rounds=run.settings.rounds, measure=run.turn))
    found = by_contender(turns)
    return Section(
        name="verify",
        title="Verifying only",
        text=(
            "What one would write instead, without Kafka: the body is read, its signature verified, its JSON parsed, "
            "and the answer sent. Nothing is stored. The aiohttp handler is the one from above, which parses nothing."
        ),
        columns=THROUGHPUT,
        rows=[throughput_row(contender, found[contender.name]) for contender in contenders],
        targets=[],
        charts=[throughput_chart("verify", "Webhooks verified and forgotten, one core", contenders, turns)],
        raw=turns,
        notes=oddities(turns),
    )
