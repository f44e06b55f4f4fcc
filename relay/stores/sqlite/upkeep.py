"""What a store does by itself, beside its answers: file marks, move its log, and look how much room there is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import apsw

from relay.errors import StoreUnavailable
from relay.records import Checkpoint
from relay.stores.sqlite import marks
from relay.stores.sqlite.checkpoints import checkpoint, log_bytes
from relay.stores.sqlite.room import Room, probe
from relay.stores.sqlite.turns import Turns
from relay.stores.sqlite.writer import Writer

T = TypeVar("T")


class Read(Protocol):
    """Does something on the connection that reads, in its thread."""

    def __call__(self, query: Callable[[apsw.Connection], T], /) -> Awaitable[T]: ...


_CHECKPOINT_EVERY = 1.0
_MEASURE_EVERY = 0.5


class Upkeep:
    """Goes on until it is ended."""

    def __init__(
        self,
        path: Path,
        room: Room,
        *,
        read: Read,
        writer: Writer,
        moves_log: bool = True,
        turns: Turns | None = None,
    ) -> None:
        """Without `moves_log` another process moves it and files marks, and here it is looked at only."""
        self.log_bytes = log_bytes(path)
        self.listeners: list[Callable[[Checkpoint], None]] = []
        self._path = path
        self._room = room
        self._read = read
        self._writer = writer
        self._moves_log = moves_log
        self._turns = turns
        self._filed_up_to = marks.LEAST
        self._tasks = [
            asyncio.create_task(self._checkpoint_regularly(), name="store-checkpoints"),
            asyncio.create_task(self._measure_regularly(), name="store-room"),
        ]

    async def end(self) -> None:
        """Do nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def checkpoint(self, connection: apsw.Connection) -> Checkpoint:
        """Move the log, and look what that has left."""
        try:
            if not self._moves_log:
                return Checkpoint.OK
            return checkpoint(connection, self._path, short_of_room=bool(self._room.obstacle), turns=self._turns)
        finally:
            self.log_bytes = log_bytes(self._path)
            self._room.inside = connection.pragma("freelist_count") * connection.pragma("page_size")

    async def _checkpoint_regularly(self) -> None:
        while True:
            await asyncio.sleep(_CHECKPOINT_EVERY)
            if self._moves_log:
                with suppress(StoreUnavailable):  # they are found where they are, and filed later
                    await self._file_marks()
            try:
                ended = await self._read(self.checkpoint)
            except StoreUnavailable as error:  # busy or full: the log grows until the next turn succeeds
                ended = Checkpoint.BUSY if error.kind == "busy" else Checkpoint.FAILED
                if error.kind == "io":
                    self._writer.give_up(error)
            except OSError:  # the log could not be looked at; it is at the next turn
                ended = Checkpoint.FAILED
            for listener in self.listeners if self._moves_log else ():
                listener(ended)

    async def _file_marks(self) -> None:
        """What gathers at the front goes on in the order of keys, round and round."""
        for _ in range(await self._read(marks.excess)):
            self._filed_up_to = await self._writer.submit(
                partial(marks.file, start=self._filed_up_to, limit=marks.PIECE)
            )

    async def _measure_regularly(self) -> None:
        """Look how much room there is, and where a commit found none, whether that is over."""
        while True:
            await asyncio.sleep(_MEASURE_EVERY)
            await asyncio.to_thread(self._room.measure)
            if self._room.full and not self._room.shortage:
                with suppress(StoreUnavailable):
                    await self._writer.submit(probe)
                    self._room.full = False
