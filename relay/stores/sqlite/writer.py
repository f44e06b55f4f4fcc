"""The one thread that writes: what waits is committed together, and nobody waits for ever.

One fsync for each event would be the slow way. The thread takes all that waits, does it in one transaction, commits,
and only then resolves the futures: an answer that leaves the relay is on disk.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial, wraps
from itertools import groupby
from queue import Empty, SimpleQueue
from time import perf_counter
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeAlias, TypeVar

import apsw

from relay.errors import StoreUnavailable
from relay.stores.gathering import Gathering
from relay.stores.sqlite.connection import classify
from relay.stores.sqlite.turns import Turns

T = TypeVar("T")
P = ParamSpec("P")
Together: TypeAlias = Callable[[apsw.Connection, Sequence[Any]], Sequence[Any]]
Outcome: TypeAlias = Any  # of whatever type the work returns; `submit` gives the caller the right one back

GROUP = 256
"""Most pieces of work in one commit."""
MOST_QUEUED = 10_000
"""Pieces of work that may wait for a commit that is stuck, given up ones included; more is refused at once."""


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """What is to be done: by itself, or for many items of its kind at once."""

    alone: Callable[[apsw.Connection], T] | None
    together: Together | None = None
    item: Any = None


@dataclass(slots=True)
class Work(Generic[T]):
    """A job over the connection, and who waits for its result. It may be done twice, never after a commit."""

    job: Job[T]
    future: asyncio.Future[T]

    def forget(self) -> None:
        """Let go of what was to be written: the one who waited has gone, and the thread may be stuck for long."""
        self.job = _NOTHING


class Writer:
    """Owns the write connection and its thread."""

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        on_commit: Callable[[float], None] | None = None,
        turns: Turns | None = None,
    ) -> None:
        """`on_commit` is told the seconds that each commit took that changed something, in the event loop. `turns` are
        taken with other processes, and closed with the writer."""
        self._connection = connection
        self._on_commit = on_commit
        self._turns = turns
        self._gathering: Gathering[Work[Any]] = Gathering(self._hand_over, largest=GROUP)
        self._queue: SimpleQueue[Work[Any] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._broken: StoreUnavailable | None = None
        self.failed: asyncio.Future[StoreUnavailable] = self._loop.create_future()
        """Done when the thread has given up: an I/O error, after which nothing that fsync says can be believed."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether work is still being done."""
        return self._broken is None and self._thread.is_alive()

    @property
    def ending(self) -> str:
        """Why no work is done any more."""
        return str(self._broken or _gone())

    async def submit(self, run: Callable[[apsw.Connection], T]) -> T:
        """Do this in the next transaction and return its result once that is durable.

        Raises:
            StoreUnavailable: it could not be written, too much waits, or the thread has given up.
        """
        return await self._done(Work(Job(run), self._loop.create_future()))

    async def submit_together(self, together: Together, item: object) -> Any:
        """Do this in the next transaction, with all others of its kind that stand beside it: `together` gets their
        items and returns their results, in order. Else as `submit`."""
        return await self._done(Work(Job(None, together, item), self._loop.create_future()))

    async def _done(self, work: Work[T]) -> T:
        if self._broken is not None:
            raise StoreUnavailable(str(self._broken), kind=self._broken.kind)
        if self._queue.qsize() + len(self._gathering) >= MOST_QUEUED:
            raise StoreUnavailable("store: a commit takes long, and too much waits behind it", kind="busy")
        self._gathering.add(work)
        try:
            return await work.future
        except asyncio.CancelledError:
            work.forget()
            raise

    def _hand_over(self, group: Sequence[Work[Any]]) -> None:
        for work in group:
            self._queue.put(work)
        if self._broken is not None or not self._thread.is_alive():  # nobody would ever take the work
            self._abandon()

    def give_up(self, failure: StoreUnavailable) -> None:
        """Do nothing more, and refuse all that waits or comes. From any thread."""
        self._broken = self._broken or failure
        self._tell(lambda: self._announce(failure))

    async def close(self) -> None:
        """Finish what waits, then stop the thread and close the connection."""
        self._gathering.flush()
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._broken = self._broken or _closed()
        self._abandon()

    def _run(self) -> None:
        group: list[Work[Any]] = []
        try:
            while (first := self._queue.get()) is not None:
                with self._turns or nullcontext():  # what comes while it waits for its turn is done in it
                    group, stopping = self._drain(first)
                    self._commit(group)
                if stopping or self._broken is not None:
                    break
        except BaseException as error:  # noqa: BLE001 - whatever killed the thread, those who wait must be told
            death = StoreUnavailable(f"store: the writer thread died: {type(error).__name__}: {error}", kind="other")
            self.give_up(death)
            self._tell(lambda: self._refuse(group, death))  # they are no longer in the queue
        finally:
            self._close_connection()

    def _close_connection(self) -> None:
        if self._turns is not None:
            self._turns.close()
        try:
            self._connection.close()
        except apsw.Error as error:  # what was committed is in the log; the next start recovers it
            self.give_up(classify(error))

    def _drain(self, first: Work[Any]) -> tuple[list[Work[Any]], bool]:
        group = [first]
        while len(group) < GROUP:
            try:
                work = self._queue.get_nowait()
            except Empty:
                break
            if work is None:
                return group, True
            group.append(work)
        return group, False

    def _commit(self, group: Sequence[Work[Any]]) -> None:
        """One transaction for all. Where one piece of work fails, each gets a transaction of its own, once."""
        wanted = [work for work in group if not work.future.cancelled()]
        if self._broken is not None:
            self._tell(partial(self._refuse, wanted, self._broken))
            return
        if not wanted:
            return
        started, changes = perf_counter(), self._connection.total_changes()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = _do(self._connection, wanted)
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - every failure is handed to the one who waits for it
            self._roll_back()
            self._failed(wanted, error)
            return
        wrote = self._connection.total_changes() != changes
        seconds = perf_counter() - started if wrote else None
        self._tell(lambda: self._resolve(wanted, results, seconds))

    def _failed(self, group: Sequence[Work[Any]], error: Exception) -> None:
        failure = classify(error) if isinstance(error, apsw.Error) else error
        kind = failure.kind if isinstance(failure, StoreUnavailable) else "other"
        if isinstance(failure, StoreUnavailable) and kind == "io":
            self.give_up(failure)  # after a failed fsync the next one may lie: stop, and recover from the log
        if len(group) > 1 and kind in ("full", "other"):  # a settle fits into a file that is too full for an event
            for work in group:
                self._commit([work])
        else:
            self._tell(lambda: self._refuse(group, failure))

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except apsw.Error as error:
                self.give_up(classify(error))

    def _announce(self, failure: StoreUnavailable) -> None:
        if not self.failed.done():
            self.failed.set_result(failure)
        self._abandon()

    def _abandon(self) -> None:
        """Refuse what nobody will do any more."""
        failure = self._broken or _gone()
        while True:
            try:
                work = self._queue.get_nowait()
            except Empty:
                return
            if work is not None:
                self._refuse([work], failure)

    def _tell(self, action: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._broken = self._broken or StoreUnavailable("store: the event loop is closed", kind="closed")

    def _resolve(self, group: Sequence[Work[Any]], results: Sequence[Outcome], seconds: float | None) -> None:
        for work, result in zip(group, results, strict=True):
            if not work.future.done():
                work.future.set_result(result)
        if self._on_commit is not None and seconds is not None:
            self._on_commit(seconds)

    def _refuse(self, group: Sequence[Work[Any]], error: Exception) -> None:
        for work in group:
            if not work.future.done():
                work.future.set_exception(error)


class _Writes(Protocol):
    _writer: Writer


def writes(
    run: Callable[Concatenate[apsw.Connection, P], T],
) -> Callable[Concatenate[_Writes, P], Coroutine[Any, Any, T]]:
    """A method that is this and nothing else, in the next transaction, with the same arguments."""

    @wraps(run)
    async def method(self: _Writes, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._writer.submit(lambda connection: run(connection, *args, **kwargs))

    return method


def _do(connection: apsw.Connection, group: Sequence[Work[Any]]) -> list[Outcome]:
    """The results of all, in order. What can be done together is: each call into SQLite lets the event loop have the
    interpreter, and may have to wait for milliseconds to get it back."""
    results: list[Outcome] = []
    for together, jobs in groupby([work.job for work in group], key=lambda job: job.together):
        if together is not None:
            results += together(connection, [job.item for job in jobs])
        else:
            results += [None if job.alone is None else job.alone(connection) for job in jobs]
    return results


_NOTHING: Job[Any] = Job(None)


def _gone() -> StoreUnavailable:
    return StoreUnavailable("store: the writer thread is gone", kind="other")


def _closed() -> StoreUnavailable:
    return StoreUnavailable("store: closed", kind="closed")
