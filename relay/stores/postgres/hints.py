"""Hints that something may have come due: within the process, and to other nodes by NOTIFY.

A NOTIFY is sent after the answer, in a transaction of its own: the server takes a lock of all databases for one. It may
be lost; polling finds what it would have told.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress

from relay.errors import StoreUnavailable
from relay.stores.postgres.connection import TROUBLE, Connection, connect, watched
from relay.stores.postgres.pool import Pool
from relay.stores.postgres.server import Server
from relay.stores.postgres.texts import restored, stored

_CHANNEL = "dyte_relay"
_NOTIFY = f"SELECT pg_notify('{_CHANNEL}', hint) FROM unnest($1::TEXT[]) AS hint"  # noqa: S608 - a constant of ours
_EVERY = 0.05
"""Seconds between two NOTIFYs at least."""
_LONGEST = 7000  # the server takes less than 8000 bytes
_LOOK_EVERY, _RECONNECT_AFTER = 10.0, 1.0


class Hints:
    """Who waits for which sink."""

    def __init__(self, server: Server, pool: Pool, *, owner: str) -> None:
        self.alone = False
        """Nobody else is there to be told."""
        self.listening = False
        """Whether others are heard just now."""
        self._server = server
        self._pool = pool
        self._owner = owner
        self._events: dict[str, asyncio.Event] = {}
        self._untold: set[str] = set()
        self._teller: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Hear what other nodes tell from now on. Behind a pooler there is no session that could."""
        if self._listener is None and not self._server.pooled:
            self._listener = asyncio.create_task(self._listen(), name="store-hints")

    def set(self, sink: str) -> None:
        """End the sink's `wait` here."""
        self._event(sink).set()

    def tell(self, sinks: Iterable[str]) -> None:
        """End it here, and on other nodes a moment later."""
        for sink in sinks:
            self.set(sink)
            if not self.alone and len(sink) < _LONGEST // 4:
                self._untold.add(sink)
        if self._untold and self._teller is None:
            self._teller = asyncio.create_task(self._tell(), name="store-notify")

    async def wait(self, sink: str, *, timeout: float) -> None:
        """Until the sink's hint, or so many seconds."""
        event = self._event(sink)
        try:
            async with asyncio.timeout(timeout):
                await event.wait()
        except TimeoutError:
            return
        finally:
            event.clear()

    async def close(self) -> None:
        """Tell what is untold, and hear nothing more."""
        if self._teller is not None:
            await self._teller
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def _event(self, sink: str) -> asyncio.Event:
        return self._events.setdefault(sink, asyncio.Event())

    async def _tell(self) -> None:
        try:
            while self._untold:
                told = [stored(f"{self._owner} {sink}") for sink in self._untold]
                self._untold.clear()
                with suppress(StoreUnavailable):  # others poll
                    await self._pool.run(lambda connection, told=told: connection.execute(_NOTIFY, told))  # type: ignore[misc]
                await asyncio.sleep(_EVERY)
        finally:
            self._teller = None

    async def _listen(self) -> None:
        while True:
            try:
                connection = await connect(self._server)
                try:
                    with watched(connection):
                        await self._follow(connection)
                finally:
                    self.listening = False
                    connection.terminate()
            except TROUBLE:  # polling goes on, and the other connections say what is wrong
                await asyncio.sleep(_RECONNECT_AFTER * (1 + random.random()))  # noqa: S311 - no secret

    async def _follow(self, connection: Connection) -> None:
        await connection.add_listener(_CHANNEL, lambda _connection, _pid, _channel, payload: self._hear(str(payload)))
        self.listening = True
        for event in self._events.values():  # whatever was told before
            event.set()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await connection.execute("SELECT 1", timeout=_LOOK_EVERY)

    def _hear(self, payload: str) -> None:
        owner, _, sink = restored(payload).partition(" ")
        if owner != self._owner:
            self.set(sink)
