"""The connection that only reads, in a thread of its own: never in the way of what is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import apsw

from relay.errors import StoreUnavailable
from relay.stores.sqlite.connection import classify

T = TypeVar("T")
P = ParamSpec("P")


class Reader:
    """Runs one query after the other."""

    def __init__(self, connection: apsw.Connection, *, thread: str) -> None:
        """The connection is closed with it."""
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread)
        self._stopped = False

    async def run(self, query: Callable[[apsw.Connection], T]) -> T:
        """The query's result. Raises StoreUnavailable."""
        if self._stopped:
            raise StoreUnavailable("store: closed", kind="closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, query, self._connection)
        except apsw.Error as error:
            raise classify(error) from error

    def stop(self) -> None:
        """Begin no more queries."""
        self._stopped = True

    async def close(self) -> None:
        """Let the one that runs end, and let go of the file."""
        self.stop()
        await asyncio.to_thread(self._thread.shutdown)
        self._connection.close()


class _Reads(Protocol):
    _reading: Reader


def reads(
    query: Callable[Concatenate[apsw.Connection, P], T],
) -> Callable[Concatenate[_Reads, P], Coroutine[Any, Any, T]]:
    """A method that is this query and nothing else, with the query's own arguments."""

    @wraps(query)
    async def method(self: _Reads, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._reading.run(lambda connection: query(connection, *args, **kwargs))

    return method
