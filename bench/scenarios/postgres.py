"""One PostgreSQL database for several relays: what that costs beside SQLite, and whether it grows with what is stored.

The database shares the machine. A relay that is measured beside SQLite has the first core to itself, as always, and the
server works on that of the load; so its processor time is told beside the relay's, and they count together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from bench.contenders import DISABLED
from bench.measure import Spread
from bench.openloop import percentile
from bench.postgres import flat
from bench.postgres.nodes import NodesTurn, Way, running, turn
from bench.postgres.server import Database
from bench.receiver import receiving
from bench.results import Section, Table, Target
from bench.run import BUILD, Missing, Run
from bench.scenarios.drain import Drain, goes, to_http
from bench.scenarios.seeding import SINK
from tests.postgres.binaries import NoPostgres

FLAT, CLAIM_P99_MS, BESIDE, NODES = 0.10, 25.0, 1.5, 1.15
_FEW, _MANY, _EVENTS, _LEAST_ROUNDS, _SECONDS = 1_000, 10_000, 10_000, 5, 3.0
_SQLITE = Way(contender="sqlite", label="SQLite", nodes=0)
_ONE = Way(contender="one", label="PostgreSQL")
_WIDE = Way(contender="one-wide", label="PostgreSQL, all cores", everywhere=True)
_THREE = Way(contender="three-wide", label="three nodes, all cores", nodes=3, everywhere=True)
_ACCEPTING = (_SQLITE, _ONE, _WIDE, _THREE)
_SENDING = Way(contender="one-http", label="PostgreSQL, to HTTP")
_LABELS = {"few": "{few:,} stored", "many": "{many:,} stored", "dead": "{dead:,} dead tuples held"}
_COLUMNS = (
    *("", "events/s (median)", "lowest to highest", "CPU µs per event: relay", "database", "both"),
    *("events a commit", "log bytes per event", "flushes per event", "server's core", "load's core"),
)


def run(run: Run) -> Section:
    """Measure."""
    run = replace(run, settings=replace(run.settings, seconds=min(_SECONDS, run.settings.seconds)))
    try:
        database = run.stack.enter_context(Database(BUILD))
    except NoPostgres as error:
        raise Missing(f"no PostgreSQL: {error}") from error
    found = _accepting(run, database)
    found[_SENDING.contender] = [_sending(run, database, number + 1) for number in range(run.settings.rounds)]
    with ExitStack() as stack:
        waiting = stack.enter_context(database.seeded(run.settings.backlog))
        stored = _flat(run, database, waiting)
        drains = [_drain(run, database, waiting, way) for way in (_ONE, _THREE)]
    return Section(
        name="postgres",
        title="Several nodes on PostgreSQL",
        text=(
            "The relay on a PostgreSQL database of its own on this machine, its data on the same disk, with `fsync` "
            "and `synchronous_commit` on; beside it the same on SQLite. Its only sink is disabled, or takes "
            "everything. A relay alone has the first core, and the server shares the other one with the load; where "
            f"all have all cores, only the processor time says something. Turns of {run.settings.seconds:g} s."
        ),
        columns=_COLUMNS,
        rows=[_row(way, found[way.contender]) for way in (*_ACCEPTING, _SENDING)],
        targets=[*_beside(found), *_flatness(run, stored)],
        charts=[],
        raw={"turns": found, "flat": stored, "drains": drains},
        notes=_oddities(found),
        more=[_costs(run, stored), _gone(run, drains)],
    )


def _accepting(run: Run, database: Database) -> dict[str, list[NodesTurn]]:
    """Each way in each round, another one first each time."""
    found: dict[str, list[NodesTurn]] = {way.contender: [] for way in _ACCEPTING}
    for number in range(run.settings.rounds):
        first = number % len(_ACCEPTING)
        for way in (*_ACCEPTING[first:], *_ACCEPTING[:first]):
            found[way.contender].append(turn(run, way, DISABLED, number + 1, database=database))
    return found


def _sending(run: Run, database: Database, number: int) -> NodesTurn:
    with receiving(run.place) as receiver:
        sink = {"type": "http", "url": receiver.url, "allow_private": True}
        return turn(run, _SENDING, {SINK: sink}, number, database=database, arrived=receiver.count)


def _flat(run: Run, database: Database, waiting: str) -> flat.Found:
    database.pin([run.place.cores.load])
    settings = run.settings
    sizes = {"few": _FEW, "many": settings.stored, "dead": settings.backlog}
    short = settings.backlog < _MANY
    with ExitStack() as stack:
        urls = {
            "few": stack.enter_context(database.seeded(_FEW)),
            "many": stack.enter_context(database.seeded(settings.stored)),
            "dead": stack.enter_context(database.copied(waiting)),
        }
        run.say(f"seeded {settings.stored:,} events")
        states = [flat.State(name=name, label=_LABELS[name].format(**sizes), url=url) for name, url in urls.items()]
        return flat.measure(
            database,
            states,
            rounds=1 if short else max(_LEAST_ROUNDS, settings.rounds),
            events=300 if short else _EVENTS,
        )


def _drain(run: Run, database: Database, waiting: str, way: Way) -> Drain:
    with (
        database.copied(waiting) as url,
        to_http(run) as outlet,
        running(run, way, {SINK: outlet.sink}, database=database, url=url) as nodes,
    ):
        found = goes(run, way.label, outlet, nodes.servers[0], cpu=lambda: sum(nodes.cpu()))
    run.say(f"{way.label}: {found.per_second:,.0f}/s, live events reach it with p99 {found.live_p99:,.0f} ms")
    return found


def _beside(found: Mapping[str, Sequence[NodesTurn]]) -> Sequence[Target]:
    """What does not depend on who else uses the machine."""
    one, wide, three, sqlite = (_cpu(found[way.contender]) for way in (_ONE, _WIDE, _THREE, _SQLITE))
    return [
        Target.at_most("CPU per event, relay and database / relay on SQLite", BESIDE, one / sqlite),
        Target.at_most("CPU per event, three nodes / one", NODES, three / wide),
    ]


def _flatness(run: Run, stored: flat.Found) -> Sequence[Target]:
    targets = []
    low, high, few = 1 - FLAT, 1 + FLAT, _whole(stored, "few")
    for name, label in _labels(run).items():
        if name != "few":
            ratio = _whole(stored, name) / few
            what = f"CPU per event to accept, claim and settle, {label} / {_FEW:,} stored"
            met = low <= ratio <= high
            targets.append(Target(what=what, wanted=f"{low:g} to {high:g}", found=f"{ratio:.3g}", met=met))
    p99 = percentile(stored.claims["many"], 0.99)
    what = f"claim of {flat.AT_ONCE} among {run.settings.stored:,} that wait, p99"
    return [*targets, Target.at_most(what, CLAIM_P99_MS, p99, " ms")]


def _whole(stored: flat.Found, name: str) -> float:
    """Microseconds for an event in all."""
    return sum(stored.median(name, step) for step in flat.STEPS)


def _labels(run: Run) -> Mapping[str, str]:
    settings = run.settings
    return {
        name: label.format(few=_FEW, many=settings.stored, dead=settings.backlog) for name, label in _LABELS.items()
    }


def _cpu(turns: Sequence[NodesTurn]) -> float:
    return Spread.of(turn.cpu_us for turn in turns).median


def _row(way: Way, turns: Sequence[NodesTurn]) -> Sequence[str]:
    rate = Spread.of(turn.per_second for turn in turns)
    node, server, group, written, flushes, own, load = (
        Spread.of(getattr(turn, name) for turn in turns).median
        for name in ("node_us", "database_us", "together", "log_bytes", "flushes", "server_core", "load_core")
    )
    return (
        way.label,
        f"{rate.median:,.0f}",
        f"{rate.low:,.0f} to {rate.high:,.0f}",
        f"{node:,.0f}",
        f"{server:,.0f}" if way.nodes else "–",
        f"{_cpu(turns):,.0f}",
        f"{group:.1f}",
        f"{written:,.0f}" if way.nodes else "–",
        f"{flushes:.3f}" if way.nodes else "–",
        f"{own:.0%}",
        f"{load:.0%}",
    )


def _costs(run: Run, stored: flat.Found) -> Table:
    """What each step costs in each store."""
    rows = []
    for name, label in _labels(run).items():
        claims = stored.claims[name]
        cells = [f"{stored.median(name, step):.1f}" for step in flat.STEPS]
        cells += [f"{_whole(stored, name):.1f}", f"{stored.median(name, flat.VACUUM):.1f}"]
        rows.append((label, *cells, f"{percentile(claims, 0.5):.1f} ms", f"{percentile(claims, 0.99):.1f} ms"))
    return Table(
        title=(
            f"Processor time of an event in µs, node and database, without the gateway; {flat.AT_ONCE} in each claim "
            "and settlement. The dead tuples are of deliveries that were claimed and settled while somebody's "
            "transaction stood open, which still may see them: vacuum removes none. Vacuum runs once for each "
            f"{_EVENTS:,} events, of the deliveries alone, and is not in the sum."
        ),
        columns=("", *flat.STEPS, "in all", flat.VACUUM, f"claim of {flat.AT_ONCE}: p50", "p99"),
        rows=rows,
    )


def _gone(run: Run, drains: Sequence[Drain]) -> Table:
    rows = [
        (
            drain.kind,
            f"{drain.per_second:,.0f}",
            f"{drain.seconds:.1f} s",
            f"{drain.cpu_us:,.0f}",
            f"{drain.live_p99:,.0f} ms",
            f"{drain.no_good}",
        )
        for drain in drains
    ]
    return Table(
        title=f"{run.settings.backlog:,} deliveries that wait go to HTTP, while webhooks come in at one node.",
        columns=(
            *("", "deliveries/s", "gone in", "CPU µs per delivery, relays and database"),
            *("live, due to arrived: p99", "answers no 200"),
        ),
        rows=rows,
    )


def _oddities(found: Mapping[str, Sequence[NodesTurn]]) -> Sequence[str]:
    return [
        f"{turn.contender}, round {turn.round}: {turn.refused} refused, {turn.broken} broken or too late, "
        f"{turn.duplicates} taken for duplicates"
        for turns in found.values()
        for turn in turns
        if turn.refused or turn.broken or turn.duplicates
    ]
