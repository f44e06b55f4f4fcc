"""Hints that something may have come due: within the process, and to other nodes by NOTIFY.

A NOTIFY is sent after the answer, in a transaction of its own: the server takes a lock of all databases for one. It may
be lost; polling finds what it would have told.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from relay.errors import StoreUnavailable
from relay.stores.hints import LocalHints
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


class Hints(LocalHints):
    """Who waits for which sink."""

    def __init__(self, server: Server, pool: Pool, *, owner: str) -> None:
        super().__init__()
        self.alone = False
        """Nobody else is there to be told."""
        self.listening = False
        """Whether others are heard just now."""
        self._server = server
        self._pool = pool
        self._owner = owner
        self._waiting: Counter[str] = Counter()
        self._looks_until: dict[str, float] = {}
        """Until when whoever has waited is taken to be looking."""
        self._too_much: set[str] = set()
        """Sinks of which more is due than was taken here."""
        self._untold: set[str] = set()
        self._teller: asyncio.Task[None] | None = None
        self._listener: asyncio.Task[None] | None = None

    def listen(self) -> None:
        """Hear what other nodes tell from now on. Behind a pooler there is no session that could."""
        if self._listener is None and not self._server.pooled:
            self._listener = asyncio.create_task(self._listen(), name="store-hints")

    def tell(self, sinks: Iterable[str]) -> None:
        """End it here, and on other nodes a moment later; unless somebody here takes what is due, and others would look
        for it in vain."""
        for sink in sinks:
            if not self._attended(sink):
                self._tell_others(sink)
            self.set(sink)

    def took(self, sink: str, *, all_of_it: bool) -> None:
        """What was due was claimed here. When it is more than can be taken, others are told, once."""
        if all_of_it:
            self._too_much.discard(sink)
        elif sink not in self._too_much:
            self._too_much.add(sink)
            self._tell_others(sink)

    async def wait(self, sink: str, *, timeout: float) -> None:
        """Until the sink's hint, or so many seconds."""
        self._waiting[sink] += 1
        try:
            await super().wait(sink, timeout=timeout)
        finally:
            self._waiting[sink] -= 1
            self._looks_until[sink] = asyncio.get_running_loop().time() + _EVERY

    async def close(self) -> None:
        """Tell what is untold, and hear nothing more."""
        if self._teller is not None:
            await self._teller
        if self._listener is not None:
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)

    def _attended(self, sink: str) -> bool:
        """Whether somebody here waits for it, or did a moment ago."""
        return self._waiting[sink] > 0 or asyncio.get_running_loop().time() < self._looks_until.get(sink, 0.0)

    def _tell_others(self, sink: str) -> None:
        if not self.alone and len(sink) < _LONGEST // 4:
            self._untold.add(sink)
            if self._teller is None:
                self._teller = asyncio.create_task(self._tell(), name="store-notify")

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
        self.set_all()  # whatever was told before
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            await connection.execute("SELECT 1", timeout=_LOOK_EVERY)

    def _hear(self, payload: str) -> None:
        owner, _, sink = restored(payload).partition(" ")
        if owner != self._owner:
            self.set(sink)
