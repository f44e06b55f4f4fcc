"""`relay tail`: what it prints, how it ends, and that no event can touch the terminal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from relay import tailing
from relay.commands.tail import nobody_reads
from relay.errors import StoreUnavailable
from relay.model import Dead, Delivered, Failure, Reason
from relay.records import DeliveryRecord
from relay.stores.sqlite.live import SqliteLive
from tests.commands import done, files, harmless, invoke, opened, pretend_terminal, settle
from tests.fakes.admissions import admission, event
from tests.running import MEETING, write_config
from tests.storing import over_each_store

NOW = datetime.now(UTC) - timedelta(minutes=1)
HOSTILE = "[red]m[/nope]\x1b[2J\x9b31m\u202e:key:\r\n\x07 \\[bold]"
ALL = ("tail", "--since", "7d", "--for", "0")


async def filled(folder: Path, *, hostile: str = "") -> str:
    """An event that is delivered at one sink and dead at another; its id."""
    write_config(folder, sinks=files(folder, "audit", "crm"))
    of = event(type=f"meeting.started{hostile}", meeting=hostile or MEETING, received_at=NOW)
    async with opened(folder) as store:
        await store.accept(admission("audit", "crm", of=of))
        await settle(store, "audit", Delivered(receipt=f"line 1{hostile}"))
        await settle(store, "crm", Dead(failure=Failure(reason=Reason.REFUSED, detail=f"answered 400{hostile}")))
        await store.accept(admission(of=event(type="recording.statusUpdate", received_at=NOW)))
    return of.id


@over_each_store
async def test_a_line_for_all_that_happened(tmp_path: Path) -> None:
    short = (await filled(tmp_path))[:18]
    lines = (await done(tmp_path, *ALL)).splitlines()
    assert sorted(" ".join(line.split()[2:]) for line in lines) == [
        f"arrived {short} meeting.started to audit and crm {MEETING}",
        f"arrived {short} recording.statusUpdate unrouted",
        f"dead {short} meeting.started to crm refused: answered 400; `relay why {short}` tells more",
        f"delivered {short} meeting.started to audit line 1",
    ]


async def test_each_line_for_machines_is_a_document(tmp_path: Path) -> None:
    whole = await filled(tmp_path, hostile=HOSTILE)
    lines = [json.loads(line) for line in (await done(tmp_path, *ALL, "--json")).splitlines()]
    assert {line["what"] for line in lines} == {"arrived", "delivered", "dead"}
    [dead] = [line for line in lines if line["what"] == "dead"]
    assert (dead["delivery"]["event_id"], dead["delivery"]["reason"]) == (whole, "refused")
    [arrived] = [line for line in lines if line["what"] == "arrived" and line["deliveries"]]
    assert arrived["event"]["meeting"] == HOSTILE
    assert [target["sink"] for target in arrived["deliveries"]] == ["audit", "crm"]


async def test_the_whole_history_is_told_however_short_the_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filled(tmp_path)
    monkeypatch.setattr(tailing, "STEP", 1)
    monkeypatch.setattr(tailing, "MOST_STEPS", 1)
    assert len((await done(tmp_path, *ALL)).splitlines()) == 4


async def test_a_server_that_was_away_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path)
    moved, away = SqliteLive.moved, iter([True, True])

    async def now_and_then(live: SqliteLive, ended: Mapping[int, int]) -> Sequence[DeliveryRecord]:
        if next(away, False):
            raise StoreUnavailable("store: db.example/relay: no answer in time", kind="conn")
        return await moved(live, ended)

    monkeypatch.setattr(SqliteLive, "moved", now_and_then)
    async with opened(tmp_path) as store:
        await store.accept(admission("audit", received_at=NOW))  # one that waits is looked at each time
    result = await invoke(tmp_path, "tail", "--since", "7d", "--for", "2s", "--limit", "5")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 5
    assert result.stderr == "store: db.example/relay: no answer in time; trying again\n"


async def test_it_ends_after_so_many_lines(tmp_path: Path) -> None:
    await filled(tmp_path)
    assert len((await done(tmp_path, "tail", "--since", "7d", "--limit", "2")).splitlines()) == 2


@pytest.mark.parametrize(("option", "count"), [("--failures", 1), ("--sink=audit", 2), ("--type=recording.*", 1)])
async def test_it_can_be_chosen(tmp_path: Path, option: str, count: int) -> None:
    await filled(tmp_path)
    assert len((await done(tmp_path, *ALL, option)).splitlines()) == count


async def test_a_sink_that_is_not_there_is_told(tmp_path: Path) -> None:
    await filled(tmp_path)
    result = await invoke(tmp_path, *ALL, "--sink", "cmr")
    assert result.exit_code == 0
    assert result.stderr == "relay.yaml has no sink 'cmr'; did you mean crm?\n"


async def test_no_event_reaches_the_terminal_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path, hostile=HOSTILE)
    for more in ((), ("--json",)):
        text = await done(tmp_path, *ALL, *more)
        assert harmless(text)
        assert "[/nope]" in text
    pretend_terminal(monkeypatch, 80)
    shown = await done(tmp_path, *ALL)
    assert harmless(shown)
    assert "[/nope]" in shown


async def test_in_a_terminal_a_reason_stands_below_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path)
    pretend_terminal(monkeypatch, 80)
    lines = (await done(tmp_path, *ALL)).splitlines()
    assert all(len(line) <= 80 for line in lines)
    [dead] = [number for number, line in enumerate(lines) if "  dead " in line]
    assert lines[dead + 1].startswith("    refused: answered 400; ")


async def test_no_store_yet_and_wrong_words(tmp_path: Path) -> None:
    write_config(tmp_path)
    missing = await invoke(tmp_path, "tail")
    assert missing.exit_code == 1
    assert "`relay serve` creates it" in missing.stderr
    wrong = await invoke(tmp_path, "tail", "--for", "soon")
    assert wrong.exit_code == 2
    assert "write it like 500ms, 10s" in wrong.stderr


async def test_it_goes_on_until_it_is_interrupted_and_ends_well(tmp_path: Path) -> None:
    """Beside somebody who works on the store."""
    await filled(tmp_path)
    async with started(tmp_path, asyncio.subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"  dead " in await process.stdout.readline()
        async with opened(tmp_path) as store:
            await store.accept(admission("crm"))
            await settle(store, "crm", Dead(failure=Failure(reason=Reason.GONE, detail="answered 410")))
        assert b"answered 410" in await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert await ended(process) == (0, b"")


async def test_a_reader_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    await filled(tmp_path)
    reading, writing = os.pipe()
    os.close(reading)
    async with started(tmp_path, writing) as process:
        os.close(writing)
        assert await ended(process) == (0, b"")


def test_a_reader_that_is_gone_is_noticed_though_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert not nobody_reads()
        os.close(reading)
        assert nobody_reads()


@asynccontextmanager
async def started(folder: Path, stdout: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """`relay tail --failures` as a process of its own."""
    arguments = ("-m", "relay", "tail", "-c", str(folder / "relay.yaml"), "--since", "7d", "--failures")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=stdout, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: asyncio.subprocess.Process) -> tuple[int, bytes]:
    """With which code, and what it complained of."""
    assert process.stderr is not None
    complaint = await process.stderr.read()
    return await process.wait(), complaint
