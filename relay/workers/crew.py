"""The workers: begun, watched, asked, and begun again when they die."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import site
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Protocol

import relay
from relay.errors import RelayError, StartError
from relay.identity import new_owner
from relay.telemetry.sums import Snapshot
from relay.workers.channel import Apply, Begin, Channel, Stop
from relay.workers.place import ANSWER, MOST_SILENT, Place

log = logging.getLogger("relay")

SHORT_LIFE = 10.0
"""Seconds; a worker that lives no longer died of something that may kill the next one as well."""
MOST_SHORT_LIVES = 5
"""So many of them one after the other at one place, and the whole relay ends."""
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 10.0
_END = 13.0
"""Seconds for all workers to end in order; then they are killed. What they acknowledged is on disk."""
_EXIT = 5.0
"""Seconds from the end of a worker's channel to the end of its process."""


class Orders(Protocol):
    """Who knows what the workers are to do, and has to do something where one dies."""

    def begin(self, number: int, owner: str) -> Begin:
        """The first word to a worker."""

    async def bury(self, owner: str, last: Snapshot) -> None:
        """This one is gone; `last` is what it last said of its metrics."""

    def lives(self, count: int) -> None:
        """So many take webhooks in."""


class Patience:
    """How long to wait before a place is filled again."""

    def __init__(self) -> None:
        self._short_lives = 0

    def after(self, lived: float) -> float | None:
        """Seconds to wait after a life of so many; None: it makes no sense to go on."""
        self._short_lives = self._short_lives + 1 if lived < SHORT_LIFE else 0
        if self._short_lives >= MOST_SHORT_LIVES:
            return None
        return 0.0 if self._short_lives < 2 else min(_FIRST_WAIT * 2.0 ** (self._short_lives - 2), _LONGEST_WAIT)


class Crew:
    """All workers."""

    def __init__(self, workers: int, orders: Orders, *, restarted: Callable[[], None]) -> None:
        self.places = [Place(number) for number in range(1, workers + 1)]
        self._failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._orders = orders
        self._restarted = restarted
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin all of them; returns when all take webhooks in. Raises StartError where one cannot."""
        self._tasks = [asyncio.create_task(self._keep(place), name=f"worker-{place.number}") for place in self.places]
        while not all(place.up for place in self.places):
            if self._failed.done():
                raise StartError(str(self._failed.result()))
            self._changed.clear()
            await self._changed.wait()

    async def failed(self) -> BaseException:
        """Return why it makes no sense to go on."""
        return await asyncio.shield(self._failed)

    async def look(self) -> None:
        """Ask all of them how it goes."""
        answered = await asyncio.gather(*(place.look() for place in self.places))
        for place, did in zip(self.places, answered, strict=True):
            if place.up:
                place.state = "ok" if did else f"does not answer within {ANSWER:g} s"

    async def apply(self, wanted: Apply) -> None:
        """Put a configuration in force in all of them; one that is begun later begins with it."""
        await asyncio.gather(*(place.apply(wanted) for place in self.places))

    async def stop(self) -> None:
        """Let all of them end in order; kill those that do not, so that the end comes in time."""
        self._stopping.set()
        for place in self.places:
            if place.channel is not None:
                place.channel.send(Stop())
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=_END)
        if late:
            self.kill()
            await asyncio.wait(late, timeout=_EXIT)

    def kill(self) -> None:
        """End them at once."""
        for place in self.places:
            if place.process is not None and place.process.poll() is None:
                log.warning("worker.killed", extra={"worker": place.number})
                place.process.kill()

    async def _keep(self, place: Place) -> None:
        """See to it that somebody fills this place."""
        try:
            await self._fill_again_and_again(place)
        except Exception as error:  # ours
            log.exception("supervisor.crashed")
            self._give_up(error)

    async def _fill_again_and_again(self, place: Place) -> None:
        patience = Patience()
        while not self._stopping.is_set():
            began = monotonic()
            ended = await self._live(place)
            if self._stopping.is_set():
                return
            wait = patience.after(monotonic() - began) if place.proven else None
            if wait is None:
                self._give_up(RelayError(_hopeless(place, ended)))
                return
            place.state = f"{ended}; begun again in {wait:g} s"
            log.error("worker.died", extra={"worker": place.number, "detail": ended, "again_in": wait})
            self._restarted()
            await _wait(self._stopping, wait)

    async def _live(self, place: Place) -> str:
        """One worker's life; how it ended."""
        owner = new_owner()
        ours, theirs = socket.socketpair()
        channel = await Channel.open(ours)
        # Nothing is awaited until it is told: no configuration may come into force in between.
        begin = self._orders.begin(place.number, owner)
        process = _spawn(theirs, begin)
        theirs.close()
        channel.send(begin)
        place.filled(process, channel)
        if self._stopping.is_set():
            channel.send(Stop())
        log.info("worker.begun", extra={"worker": place.number, "pid": process.pid})
        watching = asyncio.create_task(self._watch(place, process), name=f"watch-{place.number}")
        while (message := await channel.receive()) is not None:
            place.heard(message)
            self._told()
        watching.cancel()
        code = await _exit_code(process)
        await channel.close()
        last, problem = place.metrics, place.problem
        place.emptied()
        self._told()
        await self._orders.bury(owner, last)
        return problem or _in_words(code)

    async def _watch(self, place: Place, process: subprocess.Popen[bytes]) -> None:
        """Kill one that hangs: the port gives it its share of the webhooks as long as it lives."""
        await place.hangs()
        place.problem = f"did not answer {MOST_SILENT} times in a row, and was killed"
        log.error("worker.hangs", extra={"worker": place.number, "pid": process.pid})
        process.kill()

    def _told(self) -> None:
        self._orders.lives(sum(place.up for place in self.places))
        self._changed.set()

    def _give_up(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_result(error)
        self._changed.set()


def _spawn(channel: socket.socket, begin: Begin) -> subprocess.Popen[bytes]:
    """A fresh interpreter: what threads and loops this one has is of no use there. In a group of its own, because a
    terminal's Ctrl-C is for us to pass on."""
    files = [channel.fileno(), begin.bell, *begin.bells.values()]
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-P", "-m", "relay.workers.worker", str(channel.fileno()), f"{begin.number}/{begin.workers}"],
        pass_fds=files,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


def _environment() -> dict[str, str]:
    """Ours; where this package is not installed, it is found there all the same."""
    home = str(Path(relay.__file__).parents[1])
    if home in site.getsitepackages():
        return dict(os.environ)
    rest = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": home if not rest else f"{home}{os.pathsep}{rest}"}


async def _exit_code(process: subprocess.Popen[bytes]) -> int:
    """Of a process that has closed its channel, and so is about to end."""
    deadline = monotonic() + _EXIT
    while (code := process.poll()) is None:
        if monotonic() > deadline:
            process.kill()
        await asyncio.sleep(0.01)
    return code


async def _wait(stopping: asyncio.Event, seconds: float) -> None:
    """For so long, or until the stop."""
    task = asyncio.create_task(stopping.wait())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()


def _in_words(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def _hopeless(place: Place, ended: str) -> str:
    if not place.proven:
        return place.problem or f"worker {place.number} {ended} as it began; the log may say why"
    return (
        f"worker {place.number} died {MOST_SHORT_LIVES} times in a row within {SHORT_LIFE:g} s of its beginning, "
        f"the last time: {ended}; see the log before"
    )
