"""Every implementation of `Store`, and how to open it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeAlias

from relay.ports import Store
from relay.stores import open_store
from tests.contract.postgres import postgres

OpenStore: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Store]]
"""Opens the store that belongs to a folder: a second time the same one, with what is in it."""


@asynccontextmanager
async def sqlite(folder: Path) -> AsyncIterator[Store]:
    store = await open_store(f"sqlite:///{folder}/relay.db")
    try:
        yield store
    finally:
        await store.close()


STORES: Mapping[str, OpenStore] = {"sqlite": sqlite, "postgres": postgres}
