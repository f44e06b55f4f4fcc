"""`relay sinks`: how sinks are shown, and that a relay does what people want of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from relay.config import load
from relay.gate import Wait
from relay.model import Dead, Delivered, Failure, GateState, Reason, Wish
from tests.commands import as_json, done, files, in_terminal, invoke, opened, settle
from tests.fakes.admissions import admission, event
from tests.fakes.http import Answer, FakeHttp
from tests.running import Relay, payload, relay_running, until, write_config
from tests.storing import over_each_store

GONE = Failure(reason=Reason.GONE, detail="the service answered 410")
SLOW = Failure(reason=Reason.UNAVAILABLE, detail="the service answered 503 \x1b[2J[red]")
ALL = ("open", "broken", "paused", "hand", "off", "new")
MEND = "when it is mended: `relay sinks resume"
AGAIN = "tried again by itself, or at once by `relay sinks resume"
DEAD = "dead letters: `relay deliveries list --sink gone --state dead` tells why"
ASKED = "asked to {}; a relay that runs does so within a second"


async def filled(folder: Path) -> datetime:
    """A sink in each state, one of them gone from relay.yaml with a dead letter and one that waits."""
    sinks: dict[str, Any] = {name: {"type": "file", "path": str(folder / name)} for name in ALL}
    sinks["off"]["enabled"] = False
    write_config(folder, sinks=sinks)
    now = datetime.now(UTC)
    async with opened(folder) as store:
        for name, state, failure in (
            ("open", GateState.OPEN, None),
            ("broken", GateState.BROKEN, SLOW),
            ("paused", GateState.PAUSED, GONE),
            ("hand", GateState.OPEN, None),
            ("off", GateState.OPEN, None),
            ("gone", GateState.OPEN, None),
            ("forgotten", GateState.OPEN, None),
        ):
            await store.report(name, state, failure, now=now)
        await store.wish("hand", Wish(paused=True, at=now))
        for _ in range(2):
            await store.accept(admission("gone", of=event(received_at=now - timedelta(hours=3, minutes=5))))
        [claimed] = await store.claim("gone", limit=1, now=now, lease=timedelta(minutes=1))
        await store.settle([(claimed, Dead(failure=GONE))], now=now)
    return now


async def wishes(folder: Path) -> dict[str, bool]:
    async with opened(folder) as store:
        return {sink: wish.paused for sink, wish in (await store.wishes()).items()}


@over_each_store
async def test_every_sink_is_shown_with_its_state(tmp_path: Path) -> None:
    await filled(tmp_path)
    head, *rows = (await done(tmp_path, "sinks", "list")).splitlines()
    assert head.split() == ["sink", "type", "state", "for", "pending", "oldest", "pace", "dead"]
    told = [re.sub(r"(open|broken|paused|by hand) \d+ (s|min) ", r"\1 … ", " ".join(row.split())) for row in rows]
    assert told == [
        "open file open … 0 0",
        f"broken file broken … 0 0 unavailable: the service answered 503 \\x1b[2J[red]; {AGAIN} broken`",
        f"paused file paused … 0 0 gone: the service answered 410; {MEND} paused`",
        f"hand file paused by hand … 0 0 {ASKED.format('pause')}",
        "off file disabled 0 0",
        "new file unknown 0 0 no relay has run it yet; start one with `relay serve`",
        "gone removed 1 3 h 5 min 1/m 1 it is not in relay.yaml; what waits for it goes out when it is there again; "
        + DEAD,
    ], "of the forgotten one nothing is left"


async def test_what_to_do_for_a_sink_in_trouble(tmp_path: Path) -> None:
    """Advice for those at which nothing fails, and nothing goes out; and for dead letters."""
    sinks: dict[str, Any] = files(tmp_path, "stuck", "fine", "hand", "off", "crm")
    sinks["off"]["enabled"] = False
    write_config(tmp_path, sinks=sinks)
    now = datetime.now(UTC)
    async with opened(tmp_path) as store:
        for name in sinks:
            await store.report(name, GateState.OPEN, None, now=now)
            await store.accept(admission(name, of=event(received_at=now - timedelta(minutes=5))))
        await settle(store, "fine", Delivered(receipt=""))
        await settle(store, "crm", Dead(failure=GONE))
        await store.wish("hand", Wish(paused=True, at=now))
        await store.report("hand", GateState.PAUSED, Failure(reason=Reason.PAUSED, detail=""), now=now)
    found = {each["sink"]: each for each in await as_json(tmp_path, "sinks", "list")}
    assert {name: each["advice"] for name, each in found.items()} == {
        "stuck": "nothing went out for a minute; does `relay serve` run? "
        "`relay deliveries list --sink stuck --state pending` tells what waits",
        "fine": "",
        "hand": "`relay sinks resume hand` lets it go on",
        "off": "what waits goes out with `enabled: true`",
        "crm": "dead letters: `relay deliveries list --sink crm --state dead` tells why, "
        "`relay replay --sink crm` sends them again",
    }
    assert {name: each["per_second"] for name, each in found.items() if each["per_second"]} == {
        "fine": 0.017,
        "crm": 0.017,
    }


async def test_replays_have_a_column_where_there_are_any(tmp_path: Path) -> None:
    await filled(tmp_path)
    assert "replays" not in (await done(tmp_path, "sinks", "list")).splitlines()[0]
    await done(tmp_path, "replay", "--all")
    assert "replays" in (await done(tmp_path, "sinks", "list")).splitlines()[0]


async def test_every_sink_is_shown_to_machines(tmp_path: Path) -> None:
    now = await filled(tmp_path)
    found = {each["sink"]: each for each in await as_json(tmp_path, "sinks", "list")}
    assert [(name, each["state"], each["by_hand"], each["obeyed"]) for name, each in found.items()] == [
        ("open", "open", False, True),
        ("broken", "broken", False, True),
        ("paused", "paused", False, True),
        ("hand", "paused", True, False),
        ("off", "disabled", False, True),
        ("new", "unknown", False, True),
        ("gone", "removed", False, True),
    ]
    gone, paused = found["gone"], found["paused"]
    assert (gone["pending"], gone["dead"], gone["replays"], gone["type"]) == (1, 1, 0, None)
    assert datetime.fromisoformat(gone["oldest"]) == now - timedelta(hours=3, minutes=5)
    assert (paused["reason"], paused["detail"], datetime.fromisoformat(paused["since"])) == ("gone", GONE.detail, now)


async def test_the_list_fits_a_narrow_terminal(tmp_path: Path) -> None:
    await filled(tmp_path)
    lines = in_terminal(tmp_path, 80, "sinks", "list")
    assert all(len(line) <= 80 for line in lines)
    assert len([line for line in lines if not line.startswith(" ")]) == 1 + 7


async def test_the_list_needs_no_secret_and_hardly_a_file(tmp_path: Path) -> None:
    await filled(tmp_path)
    file = tmp_path / "relay.yaml"
    text = await asyncio.to_thread(file.read_text)
    await asyncio.to_thread(file.write_text, text.replace(str(tmp_path / "open"), "${UNSET}", 1))
    assert [each["type"] for each in await as_json(tmp_path, "sinks", "list")] == ["file"] * 6 + [None]
    await asyncio.to_thread(file.write_text, f"store: sqlite:///{tmp_path}/relay.db\nsinks: [\n")
    broken = await invoke(tmp_path, "sinks", "list")
    assert broken.exit_code == 2, "then it is not known either where the store is"
    await asyncio.to_thread(file.write_text, f"store: sqlite:///{tmp_path}/relay.db\nsinks: 7\n")
    result = await invoke(tmp_path, "sinks", "list")
    assert result.exit_code == 0
    assert "relay.yaml has mistakes, so it is not known which sinks are disabled or removed" in result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == sorted([*ALL[:5], "gone", "forgotten"])


async def test_nothing_is_wished_for_where_a_name_is_unknown(tmp_path: Path) -> None:
    await filled(tmp_path)
    for command in ("pause", "resume"):
        result = await invoke(tmp_path, "sinks", command, "open", "brokn")
        assert result.exit_code == 2
        assert "there is no sink 'brokn'; did you mean broken?" in result.stderr
        for wrong in ([], ["open", "--all"]):
            assert (await invoke(tmp_path, "sinks", command, *wrong)).exit_code == 2
    assert await wishes(tmp_path) == {"hand": True}


async def test_wishes_are_kept_for_each_sink_that_is_named(tmp_path: Path) -> None:
    await filled(tmp_path)
    said = await done(tmp_path, "sinks", "pause", "open", "gone", "open")
    assert said.splitlines()[0] == "open and gone are to be paused; a relay that runs does so within a second"
    assert "`relay sinks list`" in said
    assert await wishes(tmp_path) == {"hand": True, "open": True, "gone": True}
    assert (await done(tmp_path, "sinks", "resume", "open")).startswith("open is to go on;")
    assert await wishes(tmp_path) == {"hand": True, "open": False, "gone": True}
    await done(tmp_path, "sinks", "resume", "--all")
    assert await wishes(tmp_path) == dict.fromkeys([*ALL, "gone"], False)
    await done(tmp_path, "sinks", "pause", "--all")
    assert await wishes(tmp_path) == dict.fromkeys(ALL, True) | {"gone": False}, "what is gone is not paused by all"
    assert await as_json(tmp_path, "sinks", "resume", "open") == {"sinks": ["open"], "paused": False}


# With a relay that runs


def http(receiver: FakeHttp, **more: Any) -> dict[str, Any]:
    return {"type": "http", "url": receiver.url, "allow_private": True, **more}


def audit(folder: Path) -> dict[str, Any]:
    return {"type": "file", "path": str(folder / "audit.jsonl")}


async def post(relay: Relay, count: int) -> None:
    assert {(await relay.post(payload(meeting=str(uuid4())))).status for _ in range(count)} == {200}


def state(folder: Path, sink: str, wanted: str, *, obeyed: bool = True) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        [found] = [each for each in await as_json(folder, "sinks", "list") if each["sink"] == sink]
        return found["state"] == wanted and found["obeyed"] is obeyed

    return reached


async def paused_everywhere(relay: Relay, receiver: FakeHttp) -> None:
    """It shows wherever people look, and nothing goes out though events come in and the other sink gets them."""
    await until(state(relay.folder, "crm", "paused"), "paused sink")
    assert (await relay.metrics())['relay_sink_state{sink="crm",state="paused"}'] == 1
    ready = await relay.admin("/readyz")
    assert ready.status == 200, "events are still taken in"
    assert ready.json["checks"]["sink crm"].startswith("paused: paused: by hand, at ")
    assert ready.json["checks"]["sink audit"] == "ok"
    arrived = len(receiver.requests)
    before = sum(record.sink == "audit" for record in await relay.app.store.deliveries(limit=1000))
    await post(relay, 3)
    await relay.delivered("audit", before + 3)
    assert len(receiver.requests) == arrived


@over_each_store
async def test_a_pause_by_hand_outlives_reload_and_restart_and_ends_by_hand(tmp_path: Path) -> None:
    async with FakeHttp() as receiver:
        sinks = {"crm": http(receiver), "audit": audit(tmp_path)}
        async with relay_running(tmp_path, sinks=sinks) as relay:
            await post(relay, 1)
            await receiver.wait_for(1)
            await done(tmp_path, "sinks", "pause", "crm")
            await paused_everywhere(relay, receiver)
            changed = {"crm": http(receiver, timeout="9s"), "audit": audit(tmp_path)}
            lane = relay.app.dispatcher.lanes["crm"]
            await relay.app.reload(load(write_config(tmp_path, sinks=changed), {}))
            assert relay.app.dispatcher.lanes["crm"] is not lane
            await paused_everywhere(relay, receiver)
        async with relay_running(tmp_path, sinks=sinks) as relay:
            await paused_everywhere(relay, receiver)
            assert (await as_json(tmp_path, "sinks", "list"))[0]["pending"] == 9
            await done(tmp_path, "sinks", "resume", "crm")
            await relay.drained()
            await until(state(tmp_path, "crm", "open"), "open sink")
            assert (await relay.admin("/readyz")).json["checks"]["sink crm"] == "ok"
        assert len(receiver.requests) == 10


async def test_resume_ends_a_pause_that_the_relay_made_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.gate.PAUSE_WAIT", Wait(first=3600, longest=3600))
    async with FakeHttp().will(Answer(410)) as receiver:
        sink = http(receiver, concurrency=1, retry={"base": "10ms"})
        async with relay_running(tmp_path, sinks={"crm": sink}) as relay:
            await post(relay, 3)
            await until(state(tmp_path, "crm", "paused"), "paused sink")
            [found] = await as_json(tmp_path, "sinks", "list")
            assert (found["by_hand"], found["reason"], found["pending"]) == (False, "gone", 3)
            assert len(receiver.requests) == 1
            await done(tmp_path, "sinks", "resume", "crm")
            await relay.drained()
            assert len(receiver.requests) == 4


async def test_a_sink_that_is_not_mended_closes_again_and_can_be_resumed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.gate.PAUSE_WAIT", Wait(first=3600, longest=3600))
    async with FakeHttp().will(Answer(410), Answer(410)) as receiver:
        sink = http(receiver, concurrency=1, retry={"base": "10ms"})
        async with relay_running(tmp_path, sinks={"crm": sink}) as relay:
            await post(relay, 1)
            for attempts in (1, 2):
                await receiver.wait_for(attempts)
                await until(state(tmp_path, "crm", "paused"), "paused sink")
                await done(tmp_path, "sinks", "resume", "crm")
            await relay.drained()
            assert len(receiver.requests) == 3
