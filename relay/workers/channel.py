"""What a supervisor and its workers say to each other, over a pair of sockets that only these two have.

When one of the two dies, however it does, the other reads the end: that is how each learns of it.
"""

from __future__ import annotations

import asyncio
import pickle
import socket
import struct
from collections.abc import Mapping
from typing import Literal, TypeAlias

from relay.admin import Readiness
from relay.config import Config
from relay.model import value
from relay.telemetry.sums import Snapshot

_LENGTH = struct.Struct("!I")


@value
class Begin:
    """Be this worker. The first word that it hears; what is a number of a file is open in both processes."""

    number: int
    workers: int
    owner: str
    """The name under which it holds leases."""
    config: Config
    lanes: Mapping[str, int]
    """The number of the worker that has the lane, by sink."""
    listen: str
    """Where it takes webhooks in, as all others do."""
    bell: int
    """Where it hears that it has something to do."""
    bells: Mapping[int, int]
    """Where the others hear it, by their number."""
    log_style: Literal["json", "text"]
    log_level: str


@value
class Apply:
    """This configuration is in force from now on."""

    config: Config
    lanes: Mapping[str, int]


@value
class Look:
    """Say how it goes."""


@value
class Stop:
    """End in order."""


@value
class Started:
    """It takes webhooks in."""


@value
class Failed:
    """It cannot go on."""

    detail: str


@value
class Applied:
    """The configuration is in force."""


@value
class Told:
    """How it goes."""

    readiness: Readiness
    metrics: Snapshot
    asked: bool
    """Whether it answers a `Look`."""


ToWorker: TypeAlias = Begin | Apply | Look | Stop
ToSupervisor: TypeAlias = Started | Failed | Applied | Told


class Channel:
    """One end. Both ends are ours, and nobody else can write to them: so whole values are sent as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Channel:
        """Over this end, which is the channel's own from now on."""
        return cls(*await asyncio.open_unix_connection(sock=end))

    @property
    def behind(self) -> bool:
        """Whether the other one does not read."""
        return self._writer.transport.get_write_buffer_size() > 0

    def send(self, message: ToWorker | ToSupervisor) -> None:
        """Say it; where nobody is there any more, nobody hears it."""
        if not self._writer.is_closing():
            self._writer.write(_packed(message))

    async def receive(self) -> ToWorker | ToSupervisor | None:
        """The next word; None: the other one is gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            message: ToWorker | ToSupervisor = pickle.loads(await self._reader.readexactly(length))  # noqa: S301
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return message

    async def close(self) -> None:
        """Say what is to be said yet, and nothing more."""
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except ConnectionError:
            return  # the other one was gone before it had heard all of it


def _packed(message: ToWorker | ToSupervisor) -> bytes:
    """The bytes of a message."""
    data = pickle.dumps(message)
    return _LENGTH.pack(len(data)) + data
