"""Several relays on one store, killed one after the other while the others go on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from signal import SIGCONT, SIGSTOP

from tests.crash.doomed import Plan
from tests.crash.harness import CHECK_EVERY, KILL_EARLY, LIFE
from tests.crash.history import History
from tests.crash.process import ORDERED, RelayProcess
from tests.crash.stage import WHOLE, Stage, stage
from tests.crash.stored import Book

_ALL_AT_ONCE = 0.05
"""Share of the kills that hit all nodes at the same time."""
_FROZEN = 0.3
"""Share of the cycles in which one is frozen before another one is killed, if any are to be frozen."""
_FROST = 4.5, 6.0
"""For how many seconds."""
_AWAY = 1.0
"""Seconds, at most, after which a node that was killed is started again."""
_MANY = 1_000_000


class Nodes:
    """The relays of one run."""

    def __init__(self, at: Stage, count: int, rng: Random, plan: Plan) -> None:
        self._plan = plan
        self._at = at
        self._rng = rng
        self._nodes: list[RelayProcess | None] = [None] * count

    async def fill(self) -> None:
        """Start those that are not there, and let the senders at all of them."""
        for number, node in enumerate(self._nodes):
            if node is None:
                self._nodes[number] = await self._at.start(self._plan, node=number)
        await self.meet()

    async def meet(self) -> None:
        """Let the senders at all that are there."""
        self._at.senders.go_on(*[await node.address() for node in self._nodes if node is not None])

    async def acknowledge(self, more: int) -> None:
        """Return when all of them together have acknowledged so many more."""
        await self._at.acknowledged(more, [await node.address() for node in self._nodes if node is not None])

    async def kill_some(self) -> None:
        """Kill one, or sometimes all of them."""
        alive = [number for number, node in enumerate(self._nodes) if node is not None]
        for number in alive if self._rng.random() < _ALL_AT_ONCE else [self._rng.choice(alive)]:
            await self._kill(number)

    async def freeze_one(self) -> None:
        """Let one stand still for longer than the others wait for it, and go on then."""
        node = self._rng.choice([node for node in self._nodes if node is not None])
        node.signal(SIGSTOP)
        self._at.history.kills += 1  # what it had begun, the others begin once more
        await asyncio.sleep(self._rng.uniform(*_FROST))
        node.signal(SIGCONT)

    async def restart_one(self) -> None:
        """Start one that is not there; some are killed before they have begun."""
        gone = [number for number, node in enumerate(self._nodes) if node is None]
        number = self._rng.choice(gone)
        self._nodes[number] = await self._at.start(self._plan, node=number)
        if self._rng.random() < KILL_EARLY:
            await asyncio.sleep(self._rng.uniform(0.0, 0.1))
            await self._kill(number)

    async def kill_all(self) -> None:
        for number, node in enumerate(self._nodes):
            if node is not None:
                await self._kill(number)
        await self._at.buried()

    async def _kill(self, number: int) -> None:
        node, self._nodes[number] = self._nodes[number], None
        assert node is not None
        await node.kill()
        self._at.history.kills += 1


async def run_nodes(
    folder: Path,
    *,
    book: Book,
    nodes: int,
    seed: int,
    kills: int = _MANY,
    seconds: float = float("inf"),
    life: int = LIFE,
    broken: str = "",
    freeze: bool = False,
    told: Callable[[History, list[str]], None] = lambda *_: None,
) -> tuple[History, list[str]]:
    """Kill so many times, or for so long, one of the nodes while the others go on; what happened, and what is wrong.

    The next one has the leases of the dead only after some seconds, so nothing that one of them sent is still on its
    way then. With `freeze`, some stand still for a while as well; order is not judged then, because what such a one had
    begun and not sent, it sends when it goes on.
    """
    rng, found, end = Random(seed), list[str](), time.monotonic() + seconds
    async with stage(folder, rng, book=book, nodes=nodes) as at:
        at.keep_pace()
        crew = Nodes(at, nodes, rng, replace(WHOLE, broken=broken))
        check_at = CHECK_EVERY
        try:
            while not found and at.history.kills < kills and time.monotonic() < end:
                await _live(crew, rng, rng.randint(0, life), freeze=freeze)
                if at.history.kills >= check_at:
                    check_at = at.history.kills + CHECK_EVERY
                    await crew.kill_all()
                    await at.drain()
                    found = at.problems(ordered=() if freeze else ORDERED)
                told(at.history, found)
        finally:
            await crew.kill_all()
        if not found:
            await at.drain()
            found = at.problems(ordered=() if freeze else ORDERED)
    return at.history, found


async def _live(crew: Nodes, rng: Random, more: int, *, freeze: bool) -> None:
    """All of them at work, until one of them is killed, and the others for a while without it."""
    await crew.fill()
    await crew.acknowledge(more)
    if freeze and rng.random() < _FROZEN:
        await crew.freeze_one()
    await asyncio.sleep(rng.uniform(0.0, 0.05))  # the moment of the kill: any
    await crew.kill_some()
    await crew.meet()
    await asyncio.sleep(rng.uniform(0.0, _AWAY))
    await crew.restart_one()
