"""Connections that are shared: each does one query after the other, and none that is in doubt is used again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeAlias, TypeVar

from asyncpg import exceptions

from relay.errors import StoreUnavailable
from relay.stores.postgres.connection import TROUBLE, Connection, classify, connect, is_outage, prelude
from relay.stores.postgres.server import Server

T = TypeVar("T")
Query: TypeAlias = Callable[[Connection], Awaitable[T]]

_WAIT_SECONDS = 2.0
"""How long somebody waits until a connection is free."""
_END_SECONDS = 3.0
"""How long those who are at work may go on when all ends."""
_LASTING = ("conn", "full", "io")
_YIELDS, _YIELD_SECONDS = 3, 0.05
_GRACE_SECONDS = 0.5
"""How much longer than the server an answer may take, before the connection is given up."""


class Pool:
    """At most `size` connections, opened when they are needed first. Not `asyncpg.Pool`: that asks the server to
    forget the session after each use, which doubles the round trips, and ours keep nothing in it."""

    def __init__(self, server: Server, *, size: int, statement_ms: int, reads: bool = False) -> None:
        """With `reads` nothing can be written."""
        self._server = server
        self._size = size
        self._statement_ms = statement_ms
        self._reads = reads
        self._free: list[Connection] = []
        self._busy: set[Connection] = set()
        self._slots = asyncio.Semaphore(size)
        self._closed = False
        self.trouble = ""
        """What lasting trouble the last one had, if it had any."""

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
            result = await self._tried_again(query)
        except TROUBLE as error:
            failure = classify(error, self._server)
            if failure.kind in _LASTING:
                self.trouble = f"{failure}; it is tried again"
            raise failure from error
        finally:
            self._slots.release()
        self.trouble = ""
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
        sound = False
        try:
            async with asyncio.timeout(self._statement_ms / 1000 + _GRACE_SECONDS):
                result = await (self._alone(connection, query) if self._server.pooled else query(connection))
            sound = True
        except TROUBLE as error:
            sound = not is_outage(error)
            if not sound:  # what befell this one most likely befell the others too
                for other in self._take_free():
                    other.terminate()
            raise
        finally:
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
