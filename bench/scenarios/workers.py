"""Several processes that share the port and the store: whether an event costs more then."""

from __future__ import annotations

from bench.contenders import DISABLED, Contender, relay
from bench.measure import Spread, in_turns
from bench.results import THROUGHPUT, Section, Target, by_contender, oddities, throughput_row
from bench.run import Missing, Run
from relay.gateway.options import GatewayOptions

RATIO = 1.15
_MANY = 2


def run(run: Run) -> Section:
    """Measure."""
    if "workers" not in GatewayOptions.model_fields:
        raise Missing("this version runs as one process: it has no `gateway.workers`")
    contenders = [
        Contender(name="workers-1", label="one worker", start=relay(DISABLED, everywhere=True)),
        Contender(
            name=f"workers-{_MANY}", label=f"{_MANY} workers", start=relay(DISABLED, workers=_MANY, everywhere=True)
        ),
    ]
    turns = list(in_turns(contenders, run.place, rounds=run.settings.rounds, measure=run.turn))
    found = by_contender(turns)
    one, many = (Spread.of(turn.cpu_us for turn in found[contender.name]).median for contender in contenders)
    return Section(
        name="workers",
        title="Several workers",
        text=(
            f"Accepting, as above, with one and with {_MANY} workers, which may run on every core; the load takes its "
            "share of them too. So only the processor time says anything here: with more cores than two, throughput "
            "would as well."
        ),
        columns=THROUGHPUT,
        rows=[throughput_row(contender, found[contender.name]) for contender in contenders],
        targets=[Target.at_most(f"CPU per event, {_MANY} workers / one", RATIO, many / one)],
        charts=[],
        raw=turns,
        notes=oddities(turns),
    )
