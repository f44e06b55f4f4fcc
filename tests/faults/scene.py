"""A whole relay with one sink in trouble, and another one that must not notice."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import orjson

from relay.model import GateState
from tests.fakes.http import FakeHttp
from tests.fakes.wire import (
    Cut,
    Dripping,
    Fault,
    HalfOpen,
    Hanging,
    Late,
    Refused,
    ResetAfter,
    ResetBefore,
    Whole,
    Wire,
)
from tests.running import Relay, Samples, payload, relay_running, until
from tests.standstill import Standstill

QUICK = {"base": "10ms", "cap": "50ms"}


class Scene:
    """What was accepted, and what must be true of it whatever the sink `ill` goes through."""

    def __init__(self, relay: Relay, well: FakeHttp, standstill: Standstill, *, ordered: bool) -> None:
        self.relay = relay
        self._ordered = ordered
        self.standstill = standstill
        self.well = well
        """Where the other sink, `well`, posts to."""
        self.accepted: dict[str, dict[str, Any]] = {}
        """Payloads by event id, in the order of acceptance."""

    async def post(self, count: int, *, meetings: int = 3, **more: Any) -> None:
        """Post so many events; each must be accepted."""
        for _ in range(count):
            number = len(self.accepted)
            given = payload(meeting=f"m-{number % meetings}", number=number, **more)
            answer = await self.relay.post(given)
            assert (answer.status, answer.json["status"]) == (200, "accepted")
            self.accepted[answer.json["id"]] = given

    async def others_go_on(self) -> None:
        """The other sink has got all of it, and while it got it the relay was ready."""
        await self.relay.delivered("well", len(self.accepted))
        assert len(self.well.requests) == len(self.accepted)
        assert (await self.relay.admin("/readyz")).status == 200

    async def shows(self, condition: Callable[[Samples], bool], what: str) -> None:
        """Return when the metrics say so."""

        async def holds() -> bool:
            return condition(Samples(await self.relay.metrics()))

        await until(holds, what)

    async def is_in(self, state: GateState) -> None:
        """Return when the metrics show the sink in this state."""
        await self.shows(lambda metrics: metrics[f'relay_sink_state{{sink="ill",state="{state}"}}'] == 1, state)

    async def failed_with(self, outcome: str, count: int = 1) -> None:
        """Return when the metrics show so many attempts that ended so."""
        name = f'relay_attempts_total{{outcome="{outcome}",sink="ill"}}'
        await self.shows(lambda metrics: metrics[name] >= count, f"{count} × {outcome}")

    async def waits(self, count: int) -> None:
        """So many deliveries wait, none is dead, and the metrics show it."""
        metrics = Samples(await self.relay.metrics())
        assert metrics['relay_backlog{sink="ill"}'] == count
        assert metrics['relay_backlog_oldest_seconds{sink="ill"}'] > 0
        assert dead(metrics) == {}

    async def holds_back(self) -> None:
        """Return when all that is accepted is either delivered or waits, and something waits; none is dead."""

        def balanced(metrics: Samples) -> bool:
            waiting = metrics['relay_backlog{sink="ill"}']
            return 0 < waiting == len(self.accepted) - metrics['relay_delivered_total{sink="ill"}']

        await self.shows(balanced, "balance of what is delivered and what waits")
        assert dead(await self.relay.metrics()) == {}

    async def survives(self, wire: Wire, fault: Fault, *, outcome: str) -> None:
        """All goes well, then the way is at fault, then it is whole again: the breaker opens, the others go on, what
        comes meanwhile waits, and at last everything arrives."""
        await self.post(6)
        await self.relay.delivered("ill", 6)
        await wire.switch(fault)
        await self.post(9)
        await self.others_go_on()
        await self.is_in(GateState.BROKEN)
        await self.failed_with(outcome, 5)
        await self.waits(9)
        await wire.switch(Whole())
        await self.post(3)
        await self.recovers()

    async def recovers(self) -> None:
        """In the end all of it is delivered, nothing is dead, the books balance, and no answer was late."""
        await self.relay.drained()
        await self.is_in(GateState.OPEN)
        metrics = Samples(await self.relay.metrics())
        assert dead(metrics) == {}
        assert metrics['relay_delivered_total{sink="ill"}'] == len(self.accepted)
        assert metrics['relay_delivered_total{sink="well"}'] == len(self.accepted)
        assert metrics['relay_backlog{sink="ill"}'] == 0
        assert metrics['relay_ack_seconds_count{source="dyte"}'] == len(self.accepted)
        if not self.standstill.excuses:
            assert metrics['relay_ack_seconds_bucket{le="2.5",source="dyte"}'] == len(self.accepted)

    def has_all(self, arrivals: Iterable[tuple[str, bytes]]) -> None:
        """The destination has everything, by event id: unchanged, and in the order of its meeting if that is kept."""
        found: dict[str, bytes] = {}
        for event_id, body in arrivals:
            assert found.setdefault(event_id, body) == body, "a repeat has the same identity and the same bytes"
        assert {event_id: orjson.loads(body) for event_id, body in found.items()} == self.accepted
        if self._ordered:
            in_order(found, self.accepted)

    def has_numbers(self, numbers: Iterable[int]) -> None:
        """As `has_all`, of a destination that shows no more of an event than its number."""
        known = list(self.accepted.items())
        self.has_all((known[number][0], orjson.dumps(known[number][1])) for number in numbers)


STORM = (
    Refused(),
    Hanging(),
    HalfOpen(),
    ResetBefore(),
    ResetAfter(),
    Late(0.02),
    Dripping(0.01),
    Cut(10),
    Cut(50),
    Whole(),
)


async def storm(here: Scene, wire: Wire, seed: int, *, switches: int = 10) -> None:
    """Events come while the wire has one fault after the other, drawn at random; it is whole at the end."""
    dice = Random(seed)
    for _ in range(switches):
        await wire.switch(dice.choice(STORM))
        await here.post(10, meetings=5)
        await asyncio.sleep(dice.uniform(0.0, 0.5))  # how long the fault lasts
    await wire.switch(Whole())


def dead(metrics: Mapping[str, float]) -> dict[str, float]:
    """Dead letters, by series."""
    return {name: count for name, count in metrics.items() if name.startswith("relay_dead_total{") and count}


def in_order(found: Iterable[str], accepted: Mapping[str, Mapping[str, Any]]) -> None:
    """Of each meeting, the events came for the first time in the order in which they were accepted."""
    came: dict[str, list[str]] = defaultdict(list)
    for event_id in found:
        came[accepted[event_id]["meeting"]["id"]].append(event_id)
    position = {event_id: number for number, event_id in enumerate(accepted)}
    for meeting, ids in came.items():
        assert ids == sorted(ids, key=position.__getitem__), meeting


def arrivals(service: FakeHttp) -> list[tuple[str, bytes]]:
    """What an HTTP service was sent, in order, by event id."""
    return [(request.headers["webhook-id"], request.body) for request in service.requests]


@asynccontextmanager
async def scene(folder: Path, ill: Mapping[str, Any], **parts: Any) -> AsyncIterator[Scene]:
    """A relay with the sink `ill`, whose other options are for a test that does not wait, and the sink `well`."""
    async with FakeHttp() as well:
        sinks = {
            "ill": {"order": "meeting", "timeout": "500ms", "retry": QUICK, **ill},
            "well": {"type": "http", "url": well.url, "allow_private": True},
        }
        with Standstill() as standstill:
            async with relay_running(folder, sinks=sinks, **parts) as relay:
                yield Scene(relay, well, standstill, ordered=sinks["ill"]["order"] == "meeting")
