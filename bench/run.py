"""One run of the benchmark: its settings, its place, and what the scenarios share."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench.broker import Broker
from bench.contenders import Contender, Place
from bench.measure import WARM_UP, Arrived, Turn, closed_loop
from relay.model import value
from tests.kafka.real import BrokerError

BUILD = Path(__file__).parents[1] / "build" / "bench"
"""Where everything goes that a run leaves or needs, but the report."""


class Missing(Exception):
    """A scenario cannot be run here; the message says what to install."""


@value
class Settings:
    """How much is measured. The short form has the same scenarios and less of everything."""

    rounds: int = 5
    seconds: float = 6.0
    """Of load, in each turn."""
    warm_up: float = WARM_UP
    pool: int = 20_480
    backlog: int = 100_000
    """Deliveries that wait, where a backlog is measured."""
    stored: int = 1_000_000
    """Events in the large store."""
    rate: float = 1_000.0
    """Events a second in the open loop."""


SHORT = Settings(rounds=1, seconds=1.0, warm_up=0.0, pool=500, backlog=400, stored=2_000, rate=100.0)


@dataclass
class Run:
    """What every scenario gets."""

    settings: Settings
    place: Place
    wrk: Path
    stack: ExitStack = field(default_factory=ExitStack)
    """What lasts until the end of the run."""
    _broker: Broker | None = None

    def broker(self) -> Broker:
        """The Kafka broker, started when it is first asked for; raises Missing where there can be none."""
        if self._broker is None:
            self.say("starting Kafka")
            try:
                self._broker = self.stack.enter_context(Broker())
            except BrokerError as error:
                raise Missing(f"no Kafka (Java 17 and Maven are needed): {error}") from error
        return self._broker

    def turn(self, contender: Contender, place: Place, number: int, *, arrived: Arrived | None = None) -> Turn:
        """One turn in a closed loop."""
        settings = self.settings
        turn = closed_loop(
            self.wrk,
            contender,
            place,
            number,
            seconds=settings.seconds,
            warm_up=settings.warm_up,
            arrived=arrived,
        )
        drained = f"  ({turn.left} waited; {turn.drain:.1f} s of drain)" if turn.drain else ""
        self.say(f"round {number}  {contender.label:38} {turn.per_second:8,.0f}/s {turn.cpu_us:7,.0f} µs{drained}")
        return turn

    def say(self, line: str) -> None:
        """Tell who waits how far it is."""
        sys.stderr.write(f"  {line}\n")
        sys.stderr.flush()
