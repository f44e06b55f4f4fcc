"""Work that a test gives to the thread that writes."""

from __future__ import annotations

import asyncio
import threading

import apsw


class Plug:
    """Work that keeps the writer busy until it is pulled."""

    def __init__(self) -> None:
        self._pulled = threading.Event()
        self._begun = threading.Event()

    def __call__(self, _: apsw.Connection) -> None:
        self._begun.set()
        assert self._pulled.wait(10)

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 10)

    def pull(self) -> None:
        self._pulled.set()
