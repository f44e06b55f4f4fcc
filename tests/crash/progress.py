"""How far a long run is: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.crash.history import History

LINE_EVERY = 10.0
"""Seconds between two lines."""


@contextmanager
def progress(kills: int) -> Iterator[Callable[[History, list[str]], None]]:
    """A function to call after each kill, with the run so far and what is known to be wrong with it.

    `kills` is how many there will be; 0 if a clock ends the run.
    """
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with _bar(console) as bar:
        task = bar.add_task("", total=kills or None, told="")
        told_at = started = monotonic()

        def told(history: History, found: list[str]) -> None:
            nonlocal told_at
            text = f"{len(history.sent):,} sent  {history.acknowledged:,} acked  {_lost(found)} lost so far"
            bar.update(task, completed=min(history.kills, kills or history.kills), told=text)
            now = monotonic()
            if not console.is_terminal and now - told_at >= LINE_EVERY:
                told_at = now
                times = f"{now - started:.0f} s elapsed"
                if kills:
                    left = (now - started) / history.kills * max(0, kills - history.kills)
                    times += f", about {left:.0f} s remaining"
                console.print(f"{history.kills}{f'/{kills}' if kills else ''} kills  {text}  {times}")

        yield told


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("kills"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _lost(found: list[str]) -> int:
    return sum("lost, though acknowledged" in problem for problem in found)
