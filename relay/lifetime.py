"""What has parts that begin one after the other, go on in the background, and end in the opposite order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack

from relay.errors import RelayError

_GC_THRESHOLDS = (20_000, 20, 50)
"""What a request leaves behind is mostly freed by its counts; cycles are few, and may wait a little longer."""


class Lifetime:
    """Owns its parts: begins them all or none, and learns when one of them ends that was not meant to."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._stopping = False

    async def failed(self) -> BaseException:
        """Return what made it impossible to go on: a store that gave up, or a part that ended by an error of ours."""
        return await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """Answer what came, finish or give back what is under way, and let go of everything."""
        self._stopping = True
        await self._stack.aclose()

    def kill(self) -> None:
        """End at once whatever does not end with this process."""

    @property
    def about(self) -> Mapping[str, object]:
        """What there is to say of it when it listens."""
        return {}

    def _watch(self, work: object, name: str) -> asyncio.Task[object]:
        """Run something for as long as the relay runs; should it end, the relay has failed."""
        task: asyncio.Task[object] = asyncio.ensure_future(work)  # type: ignore[call-overload]
        task.set_name(name)
        self._stack.push_async_callback(_cancel, task)

        def ended(task: asyncio.Task[object]) -> None:
            if task.cancelled() or self._failed.done():
                return
            result = task.exception() or task.result()
            error = result if isinstance(result, BaseException) else RelayError(f"{name} ended")
            self._failed.set_result(error)

        task.add_done_callback(ended)
        return task


def freeze() -> None:
    """What is there now stays: looking through all of it again and again would be a tenth of each request."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


async def _cancel(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
