"""The composition root: what only shows when the parts are put together."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from relay import sinks
from relay.model import Delivery
from tests.running import relay_running


class Sociable:
    """A sink that can let go only together with the others."""

    def __init__(self, others: asyncio.Barrier) -> None:
        self._others = others
        self.closed = False

    async def deliver(self, delivery: Delivery) -> str:
        return "done"

    async def close(self) -> None:
        await self._others.wait()
        self.closed = True


async def test_sinks_are_closed_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may take its seconds; several dead ones in a row would keep the process past its end."""
    made: list[Sociable] = []
    barrier = asyncio.Barrier(3)

    def build(_name: str, _options: object, _observer: object) -> Sociable:
        made.append(Sociable(barrier))
        return made[-1]

    monkeypatch.setattr(sinks, "build", build)
    names = {f"sink-{number}": {"type": "file", "path": str(tmp_path / "unused")} for number in range(3)}
    async with relay_running(tmp_path, sinks=names, routes=[]):
        assert len(made) == 3
    assert all(sink.closed for sink in made)
