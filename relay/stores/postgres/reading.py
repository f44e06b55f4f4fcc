"""Methods that are one query on the connections that only read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from relay.stores.postgres.connection import Connection
from relay.stores.postgres.pool import Pool

T = TypeVar("T")
P = ParamSpec("P")


class _Reads(Protocol):
    _reading: Pool


def reads(
    query: Callable[Concatenate[Connection, P], Awaitable[T]],
) -> Callable[Concatenate[_Reads, P], Coroutine[Any, Any, T]]:
    """A method that is this query and nothing else, with the query's own arguments."""

    @wraps(query)
    async def method(self: _Reads, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._reading.run(lambda connection: query(connection, *args, **kwargs))

    return method
