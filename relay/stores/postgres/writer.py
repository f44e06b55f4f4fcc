"""What waits to be accepted is committed together: one round trip and one flush of the server's log for many events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter

from relay.errors import StoreUnavailable
from relay.model import Acceptance, Admission
from relay.stores.gathering import Growth
from relay.stores.postgres.intake import Candidate, accept_all
from relay.stores.postgres.pool import Pool

GROUP = 64
"""Most events in one commit: each takes up to three of the server's locks, of which all nodes share a few thousand."""
GROUP_BYTES = 4 * 1024 * 1024
"""About so much of bodies goes in one commit."""
MOST_QUEUED = 10_000
"""Events that may wait for commits that are stuck; more are refused at once."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that is to be written, and who waits for it."""

    candidate: Candidate
    future: asyncio.Future[Acceptance]


@dataclass(slots=True)
class Group:
    """What goes in one commit. The server looks at all of them at once, so none may be a duplicate of another."""

    members: list[Waiting] = field(default_factory=list)
    _senders: set[tuple[str, str, str]] = field(default_factory=set)
    _bodies: set[bytes] = field(default_factory=set)
    _size: int = 0

    def take(self, waiting: Waiting) -> bool:
        """Let one more in, if it fits."""
        candidate = waiting.candidate
        size = self._size + len(candidate.admission.event.body)
        if self.members and (len(self.members) >= GROUP or size > GROUP_BYTES):
            return False
        if candidate.sender in self._senders or (candidate.window and candidate.body_hash in self._bodies):
            return False
        self.members.append(waiting)
        self._senders.add(candidate.sender)
        self._bodies.add(candidate.body_hash)
        self._size = size
        return True


class Writer:
    """Accepts on a few connections, of which each commits one group after the other."""

    def __init__(self, pool: Pool, *, connections: int, on_commit: Callable[[float], None]) -> None:
        """`on_commit` is told the seconds that each commit took."""
        self._pool = pool
        self._on_commit = on_commit
        self._queue: deque[Waiting] = deque()
        self._work = asyncio.Event()
        self._closing = False
        self.failed: asyncio.Future[StoreUnavailable] = asyncio.get_running_loop().create_future()
        """Done when nothing is written any more, whatever ended it: a server that is away does not."""
        self._tasks = [asyncio.create_task(self._run(), name="store-writer") for _ in range(connections)]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def accept(self, admission: Admission) -> Acceptance:
        """Write this with what stands beside it. Raises StoreUnavailable."""
        if self._closing:
            raise _closed()
        if self.failed.done():
            raise StoreUnavailable(str(self.failed.result()), kind="other")
        if len(self._queue) >= MOST_QUEUED:
            raise StoreUnavailable("store: a commit takes long, and too much waits behind it", kind="busy")
        waiting = Waiting(Candidate(admission), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._work.set()
        return await waiting.future

    def give_up(self, part: str, error: BaseException) -> None:
        """Write nothing any more: a part of the store has ended by an error of ours."""
        if self.failed.done():
            return
        failure = StoreUnavailable(f"store: {part} died: {type(error).__name__}: {error}", kind="other")
        self.failed.set_result(failure)
        _refuse(self._queue, failure)

    async def close(self) -> None:
        """Finish what waits, and take nothing more."""
        self._closing = True
        self._work.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _refuse(self._queue, _closed())

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.give_up("the writer", error)

    async def _run(self) -> None:
        while await self._wait():
            await self._grow()
            group = self._drain()
            if group:
                await self._commit(group)

    async def _wait(self) -> bool:
        """Until there is something to do; False: there will be nothing more."""
        while not self._queue:
            if self._closing:
                return False
            self._work.clear()
            await self._work.wait()
        return True

    async def _grow(self) -> None:
        """Let more come to what came while the last commit was under way."""
        loop = asyncio.get_running_loop()
        growth = Growth(loop.time())
        while not self._closing:
            size = len(self._queue)
            if size >= GROUP or not growth.goes_on(size, loop.time()):
                return
            await asyncio.sleep(0)

    def _drain(self) -> Sequence[Waiting]:
        """What goes next; what does not fit goes first the next time."""
        group, left = Group(), []
        for _ in range(min(len(self._queue), 2 * GROUP)):
            waiting = self._queue.popleft()
            if not waiting.future.done() and not group.take(waiting):  # who has stopped waiting has gone
                left.append(waiting)
        self._queue.extendleft(reversed(left))
        return group.members

    async def _commit(self, group: Sequence[Waiting]) -> None:
        """Where one cannot be written, each gets a transaction of its own, once."""
        started = perf_counter()
        try:
            made = await self._pool.run(partial(accept_all, candidates=[each.candidate for each in group]))
        except StoreUnavailable as error:
            if len(group) > 1 and error.kind == "other":
                for each in group:
                    await self._commit([each])
                return
            _refuse(group, error)
            if self._closing and error.kind != "other":  # else an end would last as long as what waits, many times over
                _refuse(self._queue, error)
                self._queue.clear()
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            _refuse(group, StoreUnavailable(f"store: {type(error).__name__}: {error}", kind="other"))
        else:
            for each, acceptance in zip(group, made, strict=True):
                if not each.future.done():
                    each.future.set_result(acceptance)
            self._on_commit(perf_counter() - started)


def _refuse(group: Sequence[Waiting] | deque[Waiting], error: StoreUnavailable) -> None:
    for each in group:
        if not each.future.done():
            each.future.set_exception(StoreUnavailable(str(error), kind=error.kind))


def _closed() -> StoreUnavailable:
    return StoreUnavailable("store: closed", kind="closed")
