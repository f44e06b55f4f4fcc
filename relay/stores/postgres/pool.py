"""Connections that are shared: each does one query after the other, and none that is in doubt is used again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import TypeAlias, TypeVar

from asyncpg import exceptions

from relay.errors import StoreUnavailable
from relay.model import value
from relay.stores.postgres.connection import (
    TROUBLE,
    Connection,
    classify,
    connect,
    heeding_cancellation,
    is_outage,
    prelude,
    watched,
)
from relay.stores.postgres.server import Server

T = TypeVar("T")
Query: TypeAlias = Callable[[Connection], Awaitable[T]]

_WAIT_SECONDS = 2.0
"""How long somebody waits until a connection is free."""
_END_SECONDS = 3.0
"""How long those who are at work may go on when all ends."""
_FULL_SECONDS = 5.0
_LASTING = ("conn", "full", "io")
_YIELDS, _YIELD_SECONDS = 3, 0.05
_GRACE_SECONDS = 0.5
"""How much longer than the server an answer may take, before the connection is given up."""


@value
class Trouble:
    """What is in the way for now."""

    kind: str
    text: str
    at: float


def obstacle(pools: Iterable[Pool]) -> str:
    """What is in the way of those who use these pools; empty: nothing. What one has found, another may have found over:
    a server that answers is there; and a disk that was full is tried again only by those who are let in."""
    pools = list(pools)
    answered = max(pool.sound_at for pool in pools)
    for trouble in (pool.trouble for pool in pools if pool.trouble is not None):
        if trouble.at > (answered if trouble.kind == "conn" else monotonic() - _FULL_SECONDS):
            return trouble.text
    return ""


class Pool:
    """At most `size` connections, opened when they are needed first. Not `asyncpg.Pool`: that asks the server to
    forget the session after each use, which doubles the round trips, and ours keep nothing in it."""

    def __init__(
        self, server: Server, *, size: int, statement_ms: int, reads: bool = False, beside: list[Pool] | None = None
    ) -> None:
        """With `reads` nothing can be written. `beside` are all pools of the same node, this one among them."""
        self._server = server
        self._size = size
        self._statement_ms = statement_ms
        self._reads = reads
        self._beside = [] if beside is None else beside
        self._beside.append(self)
        self._free: list[Connection] = []
        self._busy: set[Connection] = set()
        self._slots = asyncio.Semaphore(size)
        self._closed = False
        self.trouble: Trouble | None = None
        """What lasting trouble the last one had, if it had any."""
        self.sound_at = 0.0
        """When something was last done."""

    async def run(self, query: Query[T]) -> T:
        """Do this on a connection, in one transaction if it is one statement. Raises StoreUnavailable."""
        if self._closed:
            raise StoreUnavailable("store: closed", kind="closed")
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            busy = f"store: {self._server.name}: all {self._size} connections are in use"
            raise StoreUnavailable(busy, kind="busy") from None
        try:
            with heeding_cancellation():
                result = await self._tried_again(query)
        except TROUBLE as error:
            failure = classify(error, self._server)
            if failure.kind in _LASTING:
                self.trouble = Trouble(kind=failure.kind, text=f"{failure}; it is tried again", at=monotonic())
            raise failure from error
        finally:
            self._slots.release()
        self.trouble, self.sound_at = None, monotonic()
        return result

    async def _tried_again(self, query: Query[T]) -> T:
        """Who is chosen to give way to another transaction has written nothing, and comes after it."""
        for _ in range(_YIELDS):
            try:
                return await self._run(query)
            except (exceptions.DeadlockDetectedError, exceptions.SerializationError):
                await asyncio.sleep(random.random() * _YIELD_SECONDS)  # noqa: S311 - no secret
        return await self._run(query)

    async def close(self) -> None:
        """Let those finish who are at work, and let go of all connections."""
        if self._closed:
            return
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_SECONDS):
                for _ in range(self._size):
                    await self._slots.acquire()
        for connection in (*self._take_free(), *self._busy):
            connection.terminate()  # with nothing to finish there is nothing to wait for

    async def _run(self, query: Query[T]) -> T:
        if self._closed:
            raise StoreUnavailable("store: closed", kind="closed")
        connection = await self._connection()
        self._busy.add(connection)
        # Not a time-out of ours: what is cancelled rolls its transaction back, and would wait for that answer too.
        seconds = self._statement_ms / 1000 + _GRACE_SECONDS
        given_up = asyncio.get_running_loop().call_later(seconds, connection.terminate)
        sound = False
        try:
            with watched(connection):
                result = await (self._alone(connection, query) if self._server.pooled else query(connection))
            sound = True
        except TROUBLE as error:
            sound = not is_outage(error)
            if not sound:  # what befell this one most likely befell the others too
                for other in [other for pool in self._beside for other in pool._take_free()]:  # noqa: SLF001
                    other.terminate()
            if connection.is_closed() and given_up.when() <= asyncio.get_running_loop().time():
                raise TimeoutError from error
            raise
        finally:
            given_up.cancel()
            self._busy.discard(connection)
            if sound and not connection.is_closed() and not self._closed:
                self._free.append(connection)
            else:
                connection.terminate()
        return result

    async def _connection(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if not connection.is_closed():
                return connection
        return await connect(self._server, statement_ms=self._statement_ms, reads=self._reads)

    async def _alone(self, connection: Connection, query: Query[T]) -> T:
        """In a transaction of its own that owes nothing to the session, which is somebody else's next."""
        async with connection.transaction(isolation="read_committed", readonly=self._reads):
            await connection.execute(prelude(self._statement_ms, reads=self._reads))
            return await query(connection)

    def _take_free(self) -> list[Connection]:
        free, self._free = self._free, []
        return free


async def together(connection: Connection, query: Query[T]) -> T:
    """Several statements as one transaction."""
    async with connection.transaction():
        return await query(connection)
