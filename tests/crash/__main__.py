"""`python -m tests.crash --cycles 1000`: the long form of tests/acceptance/test_kill.py."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import SystemRandom
from typing import Any, TypeAlias

from tests import postgres
from tests.crash.harness import run, run_point
from tests.crash.history import History
from tests.crash.nodes import run_nodes
from tests.crash.points import POINTS
from tests.crash.process import ORDERED
from tests.crash.progress import progress
from tests.crash.stored import Book, PostgresBook, SqliteBook
from tests.postgres.server import Server

Told: TypeAlias = Callable[[History, list[str]], None]
Outcome: TypeAlias = tuple[History, list[str]]
Work: TypeAlias = Callable[[Path, Book, Told], Coroutine[None, None, Outcome]]


def main() -> int:
    arguments = _arguments()
    seed = SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    _say(f"seed {seed}")
    if arguments.points:
        return _points(arguments, seed)
    cycles, nodes, seconds = arguments.cycles, arguments.nodes, 60.0 * arguments.minutes

    def work(folder: Path, book: Book, told: Told) -> Coroutine[None, None, Outcome]:
        if nodes == 1 and not seconds:
            return run(folder, cycles=cycles, seed=seed, book=book, told=told)
        end: dict[str, Any] = {"seconds": seconds} if seconds else {"kills": cycles}
        return run_nodes(folder, book=book, nodes=nodes, seed=seed, freeze=arguments.freeze, told=told, **end)

    return _tell("", 0 if seconds else cycles, work, store=arguments.store)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50, help="how often a relay is killed, at any moment")
    parser.add_argument("--minutes", type=float, default=0, help="instead: for how long relays are killed")
    parser.add_argument("--store", choices=["sqlite", "postgres"], default="sqlite", help="what the relays work on")
    parser.add_argument("--nodes", type=int, default=1, help="on PostgreSQL: how many relays work at the same time")
    parser.add_argument("--freeze", action="store_true", help="of several, let some stand still; order is not judged")
    parser.add_argument("--points", type=int, default=0, help="instead: how often one is killed at each named point")
    parser.add_argument("--only", choices=list(POINTS), help="of the named points, only this one")
    parser.add_argument("--seed", type=int, default=None, help="repeat the choices of an earlier run")
    arguments = parser.parse_args()
    if arguments.store == "sqlite" and (arguments.nodes > 1 or arguments.minutes):
        parser.error("several nodes, and a run for some minutes, need --store postgres")
    if arguments.store == "postgres" and arguments.points:
        parser.error("the named points are those of the store on SQLite")
    return arguments


def _points(arguments: argparse.Namespace, seed: int) -> int:
    failed = 0
    for point in [arguments.only] if arguments.only else POINTS:

        def die(folder: Path, _: Book, told: Told, point: str = point) -> Coroutine[None, None, Outcome]:
            return run_point(folder, point=point, times=arguments.points, seed=seed, told=told)

        failed |= _tell(f"{point}: ", arguments.points, die, store="sqlite")
    return failed


def _tell(what: str, kills: int, work: Work, *, store: str) -> int:
    """Do the work, show how far it is, and say what came of it. The exit code."""

    async def done(folder: Path, told: Told) -> Outcome:
        async with _book(store, folder) as book:
            return await work(folder, book, told)

    with tempfile.TemporaryDirectory(prefix="relay-crash-") as folder, progress(kills) as told:
        history, found = asyncio.run(done(Path(folder), told))
    _say(what + history.summary(ordered=ORDERED))
    for problem in found[:100]:
        _say(problem)
    _say(f"FAILED: {len(found)} problems" if found else "every promise was kept")
    return 1 if found else 0


@asynccontextmanager
async def _book(store: str, folder: Path) -> AsyncIterator[Book]:
    """A new store. PostgreSQL has its usual settings here: each commit is synced."""
    if store == "sqlite":
        yield SqliteBook(folder / "relay.db")
        return
    with Server() as server:
        async with postgres.database(server.url()) as url:
            yield PostgresBook(url)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":  # multiprocessing imports it under another name
    raise SystemExit(main())
