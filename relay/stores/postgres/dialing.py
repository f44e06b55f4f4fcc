"""Connecting to one of several servers that a URL names.

asyncpg asks them one after the other. A machine that is lost does not even refuse, and where it stands first, the
others' turn would never come within the time that a connection may take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def dial(urls: Sequence[str], *, seconds: float, **given: Any) -> Connection:
    """Connect to the first that will do. Each is asked a moment after the one before, or as soon as all of those have
    said no."""
    if len(urls) == 1:
        return await asyncpg.connect(urls[0], timeout=seconds, **given)
    moment = seconds / (2 * len(urls))
    asked: list[asyncio.Task[Connection]] = []
    found: Connection | None = None
    try:
        for number, url in enumerate(urls):
            asked.append(asyncio.create_task(asyncpg.connect(url, timeout=seconds - number * moment, **given)))
            found = await _first(asked, seconds=moment if number + 1 < len(urls) else None)
            if found is not None:
                return found
        raise _reason(asked)
    finally:
        await _end(asked, but=found)


async def _first(asked: Sequence[asyncio.Task[Connection]], *, seconds: float | None) -> Connection | None:
    """Of those that answer within this time the first that will do; None: all have said no, or it is over."""
    pending = {task for task in asked if not task.done()}
    until = None if seconds is None else asyncio.get_running_loop().time() + seconds
    while pending:
        left = None if until is None else until - asyncio.get_running_loop().time()
        done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                return task.result()
        if not done:
            return None
    return None


def _reason(asked: Sequence[asyncio.Task[Connection]]) -> BaseException:
    """Why none will do: what a server has said tells more than that another says nothing."""
    errors = [error for task in asked if (error := task.exception()) is not None]
    return max(errors, key=lambda error: isinstance(error, asyncpg.PostgresError))


async def _end(asked: Sequence[asyncio.Task[Connection]], *, but: Connection | None) -> None:
    for task in asked:
        task.cancel()
    for connection in await asyncio.gather(*asked, return_exceptions=True):
        if connection is not but and not isinstance(connection, BaseException):
            connection.terminate()
