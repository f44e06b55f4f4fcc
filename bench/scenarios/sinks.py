"""Taking in and delivering at once: to a real Kafka broker, to an HTTP service, to both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from bench import handwritten
from bench.contenders import Contender, Start, relay
from bench.measure import Arrived, Spread, Turn
from bench.receiver import receiving
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
from relay.model import value

FACTOR = 2.0
_COLUMNS = (*THROUGHPUT, "left at the end", "drained in")


@value
class _Way:
    """A contender, and where its events go."""

    contender: str
    label: str
    kafka: bool = False
    http: bool = False


_RELAY_KAFKA = _Way(contender="relay-kafka", label="dyte-relay → Kafka", kafka=True)
_EXPRESS = _Way(contender="express-kafka", label="Express + kafkajs", kafka=True)
_FASTAPI = _Way(contender="fastapi-kafka", label="FastAPI + aiokafka", kafka=True)
_RELAY_HTTP = _Way(contender="relay-http", label="dyte-relay → HTTP", http=True)
_RELAY_BOTH = _Way(contender="relay-both", label="dyte-relay → Kafka and HTTP", kafka=True, http=True)


def kafka(run: Run) -> Section:
    """The relay with Kafka as its only sink, beside two receivers that write to Kafka before they answer."""
    run.broker()
    handwritten.install()
    ways = (_RELAY_KAFKA, _EXPRESS, _FASTAPI)
    turns = _turns(run, ways)
    found = by_contender(turns)
    better = min((ratios(found, _RELAY_KAFKA.contender, other.contender) for other in ways[1:]), key=lambda s: s.median)
    return Section(
        name="kafka",
        title="To Kafka",
        text=(
            "Events that are answered and in Kafka, by the time until the last of them was there. The relay stores "
            "each event before it answers, and writes it to Kafka with `acks=all` and idempotence. The two receivers "
            "written by hand verify, wait for Kafka (`acks=all`), and answer: what Kafka does not take, they lose. "
            "Each of the three is one process on one core, which the broker does not share."
        ),
        columns=_COLUMNS,
        rows=[_row(way, found[way.contender]) for way in ways],
        targets=[
            Target.at_least("to Kafka / the better of the two hand-written receivers (median)", FACTOR, better.median)
        ],
        charts=[throughput_chart("kafka", "Webhooks taken in and written to Kafka, one core", _named(ways), turns)],
        raw=turns,
        notes=[_by_cpu(found), *_saturated(turns), *oddities(turns)],
    )


def sinks(run: Run) -> Section:
    """The relay with an HTTP sink, and with both."""
    run.broker()
    ways = (_RELAY_HTTP, _RELAY_BOTH)
    turns = _turns(run, ways)
    found = by_contender(turns)
    return Section(
        name="sinks",
        title="To HTTP, and to both",
        text="The same, to an HTTP service on loopback that takes everything, and to it and to Kafka at the same time.",
        columns=_COLUMNS,
        rows=[_row(way, found[way.contender]) for way in ways],
        targets=[],
        charts=[],
        raw=turns,
        notes=[*_saturated(turns), *oddities(turns)],
    )


def _turns(run: Run, ways: Sequence[_Way]) -> Sequence[Turn]:
    turns = []
    for number in range(run.settings.rounds):
        first = number % len(ways)
        turns += [_turn(run, way, number + 1) for way in (*ways[first:], *ways[:first])]
    return turns


def _turn(run: Run, way: _Way, number: int) -> Turn:
    """One turn, with a topic and a receiver of its own."""
    with ExitStack() as stack:
        counters: list[Arrived] = []
        sinks: dict[str, Any] = {}
        broker, topic = "", ""
        if way.kafka:
            broker, topic = run.broker().bootstrap, run.broker().topic()
            stack.callback(run.broker().forget, topic)
            counters.append(lambda: run.broker().size(topic))
            sinks["kafka"] = {"type": "kafka", "bootstrap_servers": broker, "topic": topic}
        if way.http:
            receiver = stack.enter_context(receiving(run.place))
            counters.append(receiver.count)
            sinks["http"] = {"type": "http", "url": receiver.url, "allow_private": True}
        starts: dict[str, Start] = {
            _EXPRESS.contender: handwritten.express(broker=broker, topic=topic),
            _FASTAPI.contender: handwritten.fastapi(broker=broker, topic=topic),
        }
        start = starts.get(way.contender) or relay(sinks)
        contender = Contender(name=way.contender, label=way.label, start=start)
        return run.turn(contender, run.place, number, arrived=lambda: min(count() for count in counters))


def _row(way: _Way, turns: Sequence[Turn]) -> Sequence[str]:
    left, drain = max(turn.left for turn in turns), max(turn.drain for turn in turns)
    return (*throughput_row(_named([way])[0], turns), f"{left:,} at most", f"{drain:.1f} s at most")


def _by_cpu(found: Mapping[str, Sequence[Turn]]) -> str:
    """The same comparison by what others cannot disturb."""
    spent = {way: Spread.of(turn.cpu_us for turn in turns).median for way, turns in found.items()}
    least = min(spent[_EXPRESS.contender], spent[_FASTAPI.contender])
    return f"Processor time for an event: {spent[_RELAY_KAFKA.contender] / least:.2f} times the better receiver's."


def _named(ways: Sequence[_Way]) -> Sequence[Contender]:
    return [Contender(name=way.contender, label=way.label, start=relay({})) for way in ways]


def _saturated(turns: Sequence[Turn]) -> Sequence[str]:
    """Whether something else than the server may have been the limit."""
    high = sorted({turn.contender for turn in turns if turn.load_core > 0.95 and turn.server_core < 0.95})
    if not high:
        return []
    return [f"The core of the load was the limit, not the server, in turns of {', '.join(high)}."]
