"""All lanes: one for each sink, begun, replaced and ended together or each by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from relay.lane import Lane


class Dispatcher:
    """All lanes. A lane that ends by an error of ours ends the relay: `failed` tells."""

    def __init__(self, lanes: Sequence[Lane], *, drain: timedelta) -> None:
        self._lanes = {lane.name: lane for lane in lanes}
        self._drain = drain
        self._tasks: dict[Lane, asyncio.Task[None]] = {}
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lanes, by the name of their sink."""
        return self._lanes

    def start(self) -> None:
        """Begin to deliver."""
        for lane in self._lanes.values():
            self._run(lane)

    def put(self, lane: Lane) -> Lane | None:
        """Begin a lane, and return the one of the same sink that it replaces; `end` that one.

        Both may be at work for a while: what the old one has begun is leased to it, so the new one does not take it.
        """
        replaced = self._lanes.get(lane.name)
        self._lanes[lane.name] = lane
        self._run(lane)
        return replaced

    def take_out(self, name: str) -> Lane | None:
        """Forget a sink's lane, and return it; `end` it."""
        return self._lanes.pop(name, None)

    async def failed(self) -> BaseException:
        """Return the error of a lane that ended by one; lanes are not meant to."""
        return await asyncio.shield(self._failed)

    async def stop(self) -> None:
        """End all lanes."""
        await self.end(list(self._tasks))

    async def end(self, lanes: Collection[Lane]) -> None:
        """Let lanes finish within the drain time; interrupt and give back what has not."""
        tasks = [self._tasks[lane] for lane in lanes if lane in self._tasks]
        for lane in lanes:
            lane.stop()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=self._drain.total_seconds())
        if late:
            for lane in lanes:
                lane.abort()
            _, stuck = await asyncio.wait(late, timeout=self._drain.total_seconds())
            for task in stuck:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _run(self, lane: Lane) -> None:
        task = asyncio.create_task(lane.run(), name=f"lane-{lane.name}")
        self._tasks[lane] = task
        task.add_done_callback(lambda _: self._ended(lane, task))

    def _ended(self, lane: Lane, task: asyncio.Task[None]) -> None:
        self._tasks.pop(lane, None)
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_result(error)
