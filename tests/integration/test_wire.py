"""The faulty wire of the tests: each fault is what it says it is, and nothing is left of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.fakes.wire import (
    Cut,
    Dripping,
    Fault,
    HalfOpen,
    Hanging,
    Late,
    Refused,
    ResetAfter,
    ResetBefore,
    Whole,
    Wire,
)
from tests.running import until

MOMENT = 0.2
WAIT = 30.0


class Echo:
    """Answers each line with itself, and remembers it."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                self.lines.append(line)
                writer.write(line)
        except ConnectionResetError:
            pass
        writer.close()


class Caller:
    """One connection to the wire."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, line: bytes = b"hello\n") -> bytes:
        self.writer.write(line)
        async with asyncio.timeout(WAIT):
            return await self.reader.readline()

    async def silent(self) -> bool:
        """Whether nothing comes, not even an end, for a moment."""
        try:
            await asyncio.wait_for(self.reader.read(1), MOMENT)
        except TimeoutError:
            return True
        return False


@pytest.fixture
async def echo() -> Echo:
    return Echo()


@pytest.fixture
async def wire(echo: Echo) -> AsyncIterator[Wire]:
    before = asyncio.all_tasks()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    async with server:
        async with Wire(server.sockets[0].getsockname()[1]) as made:
            yield made
        assert made.open == 0

    async def alone() -> bool:  # the echo's own connections end with those of the wire
        return asyncio.all_tasks() - before <= {asyncio.current_task()}

    await until(alone, "end of all tasks")


@pytest.fixture
async def caller(wire: Wire) -> AsyncIterator[Caller]:
    made = Caller(*await asyncio.open_connection("127.0.0.1", wire.port))
    yield made
    made.writer.transport.abort()


async def test_a_whole_wire_passes_everything(caller: Caller, echo: Echo) -> None:
    for number in range(50):
        assert await caller.ask(b"%d\n" % number) == b"%d\n" % number
    long = b"x" * 60_000 + b"\n"
    assert await caller.ask(long) == long
    assert len(echo.lines) == 51


async def test_a_connection_ends_at_both_ends(caller: Caller, wire: Wire) -> None:
    await caller.ask()
    caller.writer.close()

    async def ended() -> bool:
        return wire.open == 0

    await until(ended, "end of the connection")


async def test_refused(caller: Caller, wire: Wire) -> None:
    await caller.ask()
    await wire.switch(Refused())
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", wire.port)
    with pytest.raises(ConnectionError):
        await caller.reader.read()
    await wire.switch(Whole())
    again = Caller(*await asyncio.open_connection("127.0.0.1", wire.port))
    assert await again.ask() == b"hello\n"
    again.writer.close()


@pytest.mark.parametrize("fresh", [True, False])
async def test_hanging_goes_on_when_it_is_over(caller: Caller, wire: Wire, echo: Echo, *, fresh: bool) -> None:
    if not fresh:
        await caller.ask(b"before\n")
    await wire.switch(Hanging())
    used = Caller(*await asyncio.open_connection("127.0.0.1", wire.port)) if fresh else caller
    asked = asyncio.create_task(used.ask())
    done, _ = await asyncio.wait({asked}, timeout=MOMENT)
    assert not done
    assert b"hello\n" not in echo.lines
    await wire.switch(Whole())
    assert await asked == b"hello\n"
    used.writer.close()


async def test_half_open_is_never_told_to_the_near_end(caller: Caller, wire: Wire, echo: Echo) -> None:
    await caller.ask(b"before\n")
    await wire.switch(HalfOpen())
    await wire.switch(Whole())
    caller.writer.write(b"into the void\n")
    assert await caller.silent()
    again = Caller(*await asyncio.open_connection("127.0.0.1", wire.port))
    assert await again.ask() == b"hello\n"
    assert echo.lines == [b"before\n", b"hello\n"]
    again.writer.close()
    caller.writer.close()

    async def ended() -> bool:
        return wire.open == 0

    await until(ended, "end of both connections")


@pytest.mark.parametrize(("fault", "arrives"), [(ResetBefore(), False), (ResetAfter(), True)])
async def test_resets(caller: Caller, wire: Wire, echo: Echo, fault: Fault, *, arrives: bool) -> None:
    await wire.switch(fault)
    with pytest.raises(ConnectionResetError):
        await caller.ask()
    assert echo.lines == ([b"hello\n"] if arrives else [])


async def test_late(caller: Caller, wire: Wire) -> None:
    await caller.ask()
    await wire.switch(Late(MOMENT))
    began = time.monotonic()
    assert await caller.ask() == b"hello\n"
    assert time.monotonic() - began >= 2 * MOMENT, "there and back"


async def test_dripping_ends_with_the_fault(caller: Caller, wire: Wire) -> None:
    await wire.switch(Dripping(30.0))
    caller.writer.write(b"hello\n")
    async with asyncio.timeout(WAIT):
        assert await caller.reader.read(100) == b"h"
        await wire.switch(Whole())
        assert await caller.reader.readline() == b"ello\n"


async def test_cut(caller: Caller, wire: Wire, echo: Echo) -> None:
    await wire.switch(Cut(after=3))
    caller.writer.write(b"hello\n")
    async with asyncio.timeout(WAIT):
        assert await caller.reader.read() == b"hel"
    assert echo.lines == [b"hello\n"]
