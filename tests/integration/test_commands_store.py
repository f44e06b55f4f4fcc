"""`relay store copy`: what it says, and that a kill in the middle loses and doubles nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.stores import open_store
from tests.contract.postgres import database_of
from tests.contract.stores import STORES
from tests.fakes.admissions import admission
from tests.scale.seed import Seeded, seed

EVENTS = 40


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, ["store", "copy", *arguments])


async def seeded(folder: Path) -> str:
    sinks = [Seeded("free"), Seeded("ordered", ordered=True)]
    await asyncio.to_thread(seed, folder / "old.db", events=EVENTS, sinks=sinks, oldest=datetime.now(UTC))
    return f"sqlite:///{folder}/old.db"


async def target(kind: str, folder: Path) -> str:
    return await database_of(folder) if kind == "postgres" else f"sqlite:///{folder}/new.db"


@pytest.mark.parametrize("kind", STORES)
async def test_it_says_what_was_copied(tmp_path: Path, kind: str) -> None:
    origin, into = await seeded(tmp_path), await target(kind, tmp_path)
    result = await run(origin, into)
    assert result.exit_code == 0, result.output
    assert "event: 40 of 40 rows" in result.stderr
    assert "delivery pending            80  in both" in result.stdout
    assert "start no relay on FROM again" in result.stdout
    again = await run(origin, into)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is not empty" in again.stderr


async def test_it_says_it_to_machines(tmp_path: Path) -> None:
    result = await run(await seeded(tmp_path), await target("sqlite", tmp_path), "--json")
    assert json.loads(result.stdout)["copied"]["event routed"] == EVENTS
    assert result.stderr == ""


@pytest.mark.parametrize(
    ("origin", "into", "said"),
    [
        ("mysql://x", "sqlite:///new.db", "FROM is no store; write sqlite:///data/relay.db"),
        ("sqlite:///old.db", "postgresql://h", "TO names no database"),
        ("sqlite:///old.db", "sqlite:///old.db", "FROM and TO are the same store"),
    ],
)
async def test_wrong_words_are_told(origin: str, into: str, said: str) -> None:
    result = await run(origin, into)
    assert result.exit_code == 2
    assert said in result.stderr


async def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    result = await run(f"sqlite:///{tmp_path}/none.db", f"sqlite:///{tmp_path}/new.db")
    assert result.exit_code == 1
    assert "there is no" in result.stderr
    assert not (tmp_path / "new.db").exists()


_KILLED = """
import os, signal, sys
from relay import stores
from relay.cli import main
from relay.stores import tables
from relay.stores.postgres import copying as postgres
from relay.stores.sqlite import copying as sqlite

tables._ROWS = postgres.PIECE = 8
steps = int(sys.argv.pop(1))

def deadly(step):
    async def run(*arguments):
        global steps
        steps -= 1
        if steps < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return await step(*arguments)
    return run

for kind in (postgres.PostgresCopy, sqlite.SqliteCopy):
    for name in ("put", "counts", "finish"):
        setattr(kind, name, deadly(getattr(kind, name)))
main(["store", "copy", *sys.argv[1:]])
"""


async def killed(steps: int, *arguments: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, str(steps), *arguments,
        cwd=Path(__file__).parents[2], stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    return await process.wait()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_killed_in_the_middle_and_run_again_it_loses_and_doubles_nothing(tmp_path: Path, kind: str) -> None:
    origin, into = await seeded(tmp_path), await target(kind, tmp_path)
    for steps in (2, 21):  # among events; after all rows, before it is finished
        assert await killed(steps, origin, into) == -signal.SIGKILL
    result = await run(origin, into)
    assert result.exit_code == 0, result.output
    old, new = await open_store(origin), await open_store(into)
    try:
        assert list(await new.deliveries(limit=999)) == list(await old.deliveries(limit=999))
        assert list(await new.events(limit=999)) == list(await old.events(limit=999))
        await new.accept(admission("free", id="another"))
        assert await new.totals() == {"routed": EVENTS + 1, "pending": 2 * EVENTS + 1}
    finally:
        await old.close()
        await new.close()
