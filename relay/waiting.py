"""Waiting for what may come, or may not."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress


async def happens(event: asyncio.Event, *, within: float) -> bool:
    """Wait for the event, but no longer than so many seconds; whether it has come."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()


async def unless(event: asyncio.Event, waiting: Coroutine[object, object, object]) -> None:
    """Wait for this, or for the event, whichever comes first; then for neither."""
    tasks = [asyncio.create_task(waiting), asyncio.create_task(event.wait())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
