"""Waiting for what may come: never for longer than was said, and for nothing afterwards."""

from __future__ import annotations

import asyncio

import pytest

from relay.waiting import happens, unless
from tests.fakes.loop_time import LoopTime, turns


async def test_what_happens_ends_the_wait() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(happens(event, within=60))
    await turns()
    assert not waiting.done()
    event.set()
    assert await waiting


async def test_what_does_not_happen_is_not_waited_for_any_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    time = LoopTime(monkeypatch)
    waiting = asyncio.create_task(happens(asyncio.Event(), within=60))
    await turns()
    await time.advance(61)
    assert not await waiting


async def test_whichever_comes_first_ends_the_wait_for_the_other() -> None:
    event, ended = asyncio.Event(), asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    waiting = asyncio.create_task(unless(event, long()))
    await turns()
    event.set()
    await waiting
    assert ended.is_set()
    await unless(asyncio.Event(), asyncio.sleep(0))
