"""The wire between a sink and its destination: a TCP proxy on loopback whose faults a test switches while it runs."""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

from tests.ports import HOST, free_port

_CHUNK = 64 * 1024
_MOST_LINKS = 1000
_CLOSE_SECONDS = 30.0


@dataclass(frozen=True)
class Whole:
    """No fault."""


@dataclass(frozen=True)
class Refused:
    """Nobody listens; connections that there are break."""


@dataclass(frozen=True)
class Hanging:
    """Connections are taken, and nothing comes through. What waits goes on once the fault is over."""


@dataclass(frozen=True)
class HalfOpen:
    """The far end is gone and the near end is never told, also not when the fault is over; new connections hang."""


@dataclass(frozen=True)
class ResetBefore:
    """The connection breaks when something is sent, before it arrives."""


@dataclass(frozen=True)
class ResetAfter:
    """What is sent arrives, and the connection breaks when the answer comes."""


@dataclass(frozen=True)
class Late:
    """Each piece comes so much later, in either direction."""

    seconds: float


@dataclass(frozen=True)
class Dripping:
    """Answers come byte by byte, each after so much time."""

    seconds: float = 1.0


@dataclass(frozen=True)
class Cut:
    """The connection ends in order after so many bytes of an answer."""

    after: int


Fault: TypeAlias = Whole | Refused | Hanging | HalfOpen | ResetBefore | ResetAfter | Late | Dripping | Cut


class Link:
    """One connection through the wire."""

    def __init__(self, near: asyncio.StreamWriter) -> None:
        self.near = near
        self.far: asyncio.StreamWriter | None = None
        self.lost = False
        """Its far end is gone, and what is sent vanishes."""
        self.answered = 0
        """Bytes of answers that came through."""

    def reset(self) -> None:
        """Break it at both ends, without goodbye."""
        for writer in (self.near, self.far):
            if writer is not None:
                _abort(writer)

    def lose(self) -> None:
        """Break the far end, and say nothing to the near one."""
        self.lost = True
        if self.far is not None:
            _abort(self.far)


class Wire:
    """An async context manager that listens at `port` and passes everything on to the port behind it."""

    def __init__(self, behind: int, *, port: int = 0) -> None:
        self.port = port
        self.fault: Fault = Whole()
        self.connections = 0
        """Connections that were taken."""
        self._behind = behind
        self._server: asyncio.Server | None = None
        self._links: dict[asyncio.Task[None], Link] = {}
        self._switched = asyncio.Event()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def open(self) -> int:
        """Connections that there are now."""
        return len(self._links)

    async def switch(self, fault: Fault) -> None:
        """From now on the wire has this fault, also for connections that there are."""
        self.fault = fault
        self._switched.set()
        self._switched = asyncio.Event()
        if isinstance(fault, Refused):
            await self._stop_listening()
            self.reset()
        elif self._server is None:
            await self._listen()
        if isinstance(fault, HalfOpen):
            for link in self._links.values():
                link.lose()

    def reset(self) -> None:
        """Break all connections that there are."""
        for link in self._links.values():
            link.reset()

    async def __aenter__(self) -> Self:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop_listening()
        for task in self._links:
            task.cancel()
        if self._links:
            _, stuck = await asyncio.wait(self._links, timeout=_CLOSE_SECONDS)
            assert not stuck
        assert not self._links

    def through(self, link: Link, chunk: bytes, *, answer: bool) -> bytes:
        """What becomes of a piece on its way; for wires that change it."""
        return chunk

    async def _listen(self) -> None:
        self.port = self.port or free_port()
        self._server = await asyncio.start_server(self._take, HOST, self.port)

    async def _stop_listening(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await asyncio.sleep(0)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        assert len(self._links) < _MOST_LINKS
        self.connections += 1
        link = self._links[task] = Link(writer)
        try:
            await self._carry(link, reader)
        except (OSError, asyncio.CancelledError):
            link.reset()  # cancelled only by the end of the test: not raised, as the stream's own callback would log it
        finally:
            del self._links[task]
            _abort(writer)

    async def _carry(self, link: Link, near: asyncio.StreamReader) -> None:
        await self._while(Hanging, HalfOpen)
        far, link.far = await asyncio.open_connection(HOST, self._behind)
        pumps = [
            asyncio.create_task(self._pump(link, near, link.far, answer=False)),
            asyncio.create_task(self._pump(link, far, link.near, answer=True)),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            _abort(link.far)

    async def _pump(
        self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answer: bool
    ) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                if not link.lost:
                    await self._pass(link, chunk, writer, answer=answer)
        except OSError:
            if not link.lost:
                raise
        if link.lost and answer:  # the near end must not be told
            await asyncio.Event().wait()
        if link.lost:
            raise ConnectionAbortedError
        writer.close()

    async def _pass(self, link: Link, chunk: bytes, writer: asyncio.StreamWriter, *, answer: bool) -> None:
        await self._while(Hanging)
        chunk = self.through(link, chunk, answer=answer)
        match self.fault:
            case ResetBefore() if not answer:
                raise ConnectionResetError
            case ResetAfter() if answer:
                raise ConnectionResetError
            case Late(seconds):
                await self._pause(seconds)
            case Dripping(seconds) if answer:
                chunk = await self._drip(chunk, writer, seconds)
            case Cut(after) if answer:
                chunk = chunk[: max(0, after - link.answered)]
        if link.lost:
            return
        writer.write(chunk)
        await writer.drain()
        link.answered += len(chunk) if answer else 0
        if answer and isinstance(self.fault, Cut) and link.answered >= self.fault.after:
            writer.close()
            raise ConnectionAbortedError

    async def _drip(self, chunk: bytes, writer: asyncio.StreamWriter, seconds: float) -> bytes:
        """Write byte by byte while the fault lasts; what is left."""
        while chunk and isinstance(self.fault, Dripping):
            writer.write(chunk[:1])
            await writer.drain()
            chunk = chunk[1:]
            await self._pause(seconds)
        return chunk

    async def _while(self, *faults: type[Fault]) -> None:
        while isinstance(self.fault, faults):
            await self._switched.wait()

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the fault."""
        try:
            async with asyncio.timeout(seconds):
                await self._switched.wait()
        except TimeoutError:
            return


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close at once; with a reset, if there is anything to lose."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0 and not writer.is_closing():
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
