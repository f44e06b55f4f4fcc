"""`relay why`: every route and its reason, every sink and what holds it, and what to do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.config import load
from relay.model import (
    Admission,
    Dead,
    Delivered,
    Failure,
    GateState,
    Quarantine,
    Reason,
    Retry,
    Selection,
    Target,
    Wish,
)
from relay.payload import Defect
from relay.ports import Store
from tests.commands import as_json, done, files, harmless, in_terminal, invoke, opened, settle
from tests.fakes.admissions import event
from tests.fakes.http import Answer, FakeHttp
from tests.running import payload, relay_running, until, write_config
from tests.storing import over_each_store

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
DONE = Delivered(receipt="200 OK")
DEAD = Dead(failure=Failure(reason=Reason.REFUSED, detail="the service answered 400"))
SLOW = Failure(reason=Reason.UNAVAILABLE, detail="the service answered 503")
RECORDING: dict[str, Any] = {
    "type": "recording.statusUpdate",
    "body": orjson.dumps({"recording": {"status": "RECORDING", "secret": 7}}),
}
WRONG = "abs() takes number, and got string"
NOT_IN = (
    "and that was not in `organizations` of source dyte; "
    "if it is for you, add it there, then `relay replay --event {} --reroute`"
)
HOSTILE = "[red]m[/nope]\x1b[2J\x9b31m\u202e:key:\r\n\x07 \\[bold]"


async def accept(
    store: Store,
    *sinks: str,
    key: str | None = None,
    config: str = "",
    quarantine: Quarantine | None = None,
    **given: Any,
) -> str:
    made = event(**{"received_at": datetime.now(UTC), "meeting": key} | given)
    targets = [Target(route="everything", sink=sink, order_key=key) for sink in sinks]
    await store.accept(Admission(event=made, targets=targets, quarantine=quarantine, config=config))
    return made.id


async def holds(folder: Path, event_id: str) -> list[str]:
    """What holds each delivery, oldest first."""
    return [each["holds"] for each in (await as_json(folder, "why", event_id))["deliveries"]]


ROUTES = [
    {"name": "rest", "fallback": True, "to": ["audit"]},
    {"name": "uploads", "events": ["recording.*"], "where": "recording.status == 'UPLOADED'", "to": ["crm"]},
    {"name": "everything", "to": ["audit", "crm"]},
    {"name": "rtk", "sources": ["realtimekit"], "to": ["crm"]},
    {"name": "meetings", "events": ["meeting.*", "x"], "to": ["crm"]},
    {"name": "wrong", "where": "abs(recording.status)", "to": ["crm"]},
]


async def test_every_route_says_whether_it_matched_or_which_condition_failed(tmp_path: Path) -> None:
    sources: dict[str, Any] = {"dyte": {}, "realtimekit": {}}
    write_config(tmp_path, sinks=files(tmp_path, "audit", "crm"), routes=ROUTES, sources=sources)
    async with opened(tmp_path) as store:
        event_id = await accept(store, "audit", "crm", meeting="m", **RECORDING)
    shown = await done(tmp_path, "why", event_id[:36])
    assert [line for line in shown.splitlines() if line.startswith("route ")] == [
        "route rest        fallback, and another route matched",
        "route uploads     where recording.status == 'UPLOADED' does not hold: recording.status is \"RECORDING\"",
        "route everything  matched, to audit and crm",
        "route rtk         source is 'dyte', and it takes realtimekit",
        "route meetings    type is 'recording.statusUpdate', and it takes meeting.* and x",
        f'route wrong       where abs(recording.status) fails: {WRONG}; recording.status is "RECORDING"',
    ]
    assert "secret" not in shown
    assert shown.startswith(f"recording.statusUpdate  {event_id}  from dyte, accepted ")
    routes = (await as_json(tmp_path, "why", event_id))["routes"]
    assert [(each["route"], each["matched"], each["miss"]) for each in routes][:3] == [
        ("rest", False, "not_needed"),
        ("uploads", False, "where"),
        ("everything", True, None),
    ]
    assert routes[1]["saw"] == {"recording.status": "RECORDING"}


@over_each_store
async def test_every_attempt_is_shown_and_how_it_ended(tmp_path: Path) -> None:
    write_config(tmp_path, sinks=files(tmp_path, "audit", "crm"))
    async with opened(tmp_path) as store:
        event_id = await accept(store, "audit", "crm")
        await settle(store, "audit", DONE)
        await settle(store, "crm", Retry(failure=SLOW, at=datetime.now(UTC)))
        await settle(store, "crm", DEAD)
        now = datetime.now(UTC)
        await store.replay(Selection(event_id=event_id, sink="audit"), now=now, first_at=now, spacing=MINUTE, limit=9)
    lines = [line.strip() for line in (await done(tmp_path, "why", event_id)).splitlines()]
    crm = lines.index(next(line for line in lines if line.startswith("sink crm  dead  by route everything")))
    assert lines[crm + 1].endswith("  unavailable: the service answered 503")
    assert lines[crm + 2].endswith("  refused: the service answered 400")
    assert f"`relay replay --event {event_id[:18]} --sink crm`" in lines[crm + 3]
    assert any(line.startswith("sink audit  pending  by route everything  replayed 1 time") for line in lines)
    async with opened(tmp_path) as store:
        await settle(store, "audit", DONE)
    assert "    receipt: 200 OK" in (await done(tmp_path, "why", event_id)).splitlines()


@over_each_store
async def test_what_waits_for_its_turn_says_for_which_one_and_why_that_one_waits(tmp_path: Path) -> None:
    write_config(tmp_path, sinks=files(tmp_path, "crm"))
    async with opened(tmp_path) as store:
        first = await accept(store, "crm", key="m")
        await settle(store, "crm", Retry(failure=SLOW, at=datetime.now(UTC) + HOUR))
        second, third = [await accept(store, "crm", key="m") for _ in range(2)]
    for waiting in (second, third):
        [held] = await holds(tmp_path, waiting)
        assert held.startswith(f"it waits for its turn: meeting.started {first[:18]} of the same meeting goes first, ")
        assert "and it is tried next at " in held
        assert held.endswith("its last attempt: unavailable: the service answered 503")
        assert (await as_json(tmp_path, "why", waiting))["deliveries"][0]["waits_for"] == first
    [held] = await holds(tmp_path, first)
    assert held.startswith("it is tried next at ")
    async with opened(tmp_path) as store:
        await store.wish("crm", Wish(paused=True, at=datetime.now(UTC)))
    [held] = await holds(tmp_path, second)
    assert "goes first, and the sink is paused by hand since " in held


async def test_what_holds_a_delivery_is_told(tmp_path: Path) -> None:
    names = ("due", "replayed", "leased", "hand", "paused", "broken", "off", "removed", "done")
    sinks = files(tmp_path, *(name for name in names if name != "removed"))
    sinks["off"]["enabled"] = False
    write_config(tmp_path, sinks=sinks)
    now = datetime.now(UTC)
    async with opened(tmp_path) as store:
        event_id = await accept(store, *names)
        for sink in ("replayed", "done"):
            await settle(store, sink, DONE)
        await store.replay(Selection(sink="replayed"), now=now, first_at=now, spacing=MINUTE, limit=9)
        await store.claim("leased", limit=1, now=datetime.now(UTC), lease=MINUTE)
        await store.report("paused", GateState.PAUSED, SLOW, now=now)
        await store.report("broken", GateState.BROKEN, SLOW, now=now)
        await store.wish("hand", Wish(paused=True, at=now))
    found = dict(zip(names, await holds(tmp_path, event_id), strict=True))
    since = f"since {now:%Y-%m-%d %H:%M:%S} UTC"
    mend = "unavailable: the service answered 503; when it is mended: `relay sinks resume"
    assert found["due"].startswith("it is due since ")
    assert found["due"].endswith("a relay that runs sends it at once")
    assert found["replayed"].endswith("a relay that runs sends it when nothing that came in waits for the sink")
    assert found["leased"].startswith("an attempt is under way; ")
    assert found["hand"] == f"the sink is paused by hand {since}; `relay sinks resume hand`"
    assert found["paused"] == f"the sink is paused {since}: {mend} paused`"
    again = "unavailable: the service answered 503; tried again by itself, or at once by `relay sinks resume broken`"
    assert found["broken"] == f"the sink is broken {since}: {again}"
    assert found["off"].startswith("the sink is disabled in relay.yaml; ")
    assert found["removed"].startswith("the sink is not in relay.yaml; ")
    assert found["done"] == ""


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ({"quarantine": Quarantine.ORGANIZATION, "organization": "o-7"}, f"it names the organisation 'o-7', {NOT_IN}"),
        ({"quarantine": Quarantine.ORGANIZATION}, f"it names no organisation, {NOT_IN}"),
        (
            {"quarantine": Quarantine.WEBHOOK_ID, "webhook_id": "w-7"},
            "its webhook id 'w-7' was not in `webhook_ids` of source dyte; if it is for you, add it there, then ",
        ),
        ({}, "no route took it when it came; today's do: send it with `relay replay --event {} --reroute`"),
        (
            {"type": "other"},
            "no route took it when it came; add or mend a route, then `relay replay --event {} --reroute`",
        ),
        (
            {"sinks": ["crm"], "body": b"no", "type": "unreadable", "defect": Defect.NOT_JSON},
            "its body cannot be read (not_json): only fallback routes without `where` take it",
        ),
        ({"sinks": ["crm"]}, ""),
    ],
    ids=["organization", "no organization", "webhook id", "unrouted", "still unrouted", "unreadable", "usual"],
)
async def test_what_went_nowhere_says_why_and_what_to_do(tmp_path: Path, given: dict[str, Any], advice: str) -> None:
    write_config(tmp_path, sinks=files(tmp_path, "crm"), routes=[{"name": "r", "events": ["meeting.*"], "to": ["crm"]}])
    async with opened(tmp_path) as store:
        event_id = await accept(store, *given.pop("sinks", ()), **given)
    found = (await as_json(tmp_path, "why", event_id))["advice"]
    assert found.startswith(advice.format(event_id[:18]))
    assert bool(found) == bool(advice)
    assert found in await done(tmp_path, "why", event_id)


async def test_where_the_routes_of_today_differ_it_says_so(tmp_path: Path) -> None:
    def routed(*sinks: str) -> list[dict[str, Any]]:
        return [{"name": "r", "to": list(sinks)}]

    sinks = files(tmp_path, "crm", "audit", "new")
    config = load(write_config(tmp_path, sinks=sinks, routes=routed("crm", "audit")), {})
    async with opened(tmp_path) as store:
        event_id = await accept(store, "crm", "audit", config=config.hash)
    assert "routes of today" not in await done(tmp_path, "why", event_id)
    found = await as_json(tmp_path, "why", event_id)
    assert (found["missing"], found["no_longer"], found["config_changed"]) == ([], [], False)
    write_config(tmp_path, sinks=sinks, routes=routed("crm", "audit"), retention={"delivered": "9d"})
    assert "relay.yaml has changed since; for this event it chooses the same sinks" in await done(
        tmp_path, "why", event_id
    )
    write_config(tmp_path, sinks=sinks, routes=routed("crm", "new"))
    shown = await done(tmp_path, "why", event_id)
    again = f"`relay replay --event {event_id[:18]} --reroute --dry-run`"
    assert f"the routes of today would also send it to new: see {again}" in shown
    assert "the routes of today would no longer send it to audit" in shown
    found = await as_json(tmp_path, "why", event_id)
    assert (found["missing"], found["no_longer"], found["config_changed"]) == (["new"], ["audit"], True)


async def test_without_a_valid_relay_yaml_the_rest_is_shown(tmp_path: Path) -> None:
    file = write_config(tmp_path, sinks=files(tmp_path, "crm"))
    async with opened(tmp_path) as store:
        event_id = await accept(store, "crm")
    text = await asyncio.to_thread(file.read_text)
    await asyncio.to_thread(file.write_text, text.replace(str(tmp_path / "crm"), "${UNSET}", 1))
    result = await invoke(tmp_path, "why", event_id)
    assert (result.exit_code, result.stderr) == (0, ""), "routes need no secret"
    assert "route everything  matched, to crm" in result.stdout
    await asyncio.to_thread(file.write_text, text.replace('"events"', '"evnts"', 1))
    result = await invoke(tmp_path, "why", event_id)
    assert result.exit_code == 0
    assert "relay.yaml has mistakes, so it is not known what its routes say; the first: " in result.stderr
    assert "route " not in result.stdout.replace("by route", "")
    assert "sink crm  pending" in result.stdout
    assert "did you mean `events`?" in (await as_json(tmp_path, "why", event_id))["problems"][0]


async def test_an_event_that_is_not_there(tmp_path: Path) -> None:
    write_config(tmp_path)
    async with opened(tmp_path):
        pass
    for wrong in ("nope", "", "\udcff", "[red]x[/nope]"):
        result = await invoke(tmp_path, "why", wrong)
        assert (result.exit_code, "see `relay events list`" in result.stderr) == (1, True), wrong


async def hostile(folder: Path) -> str:
    routes = [{"name": "r", "where": "title == 'x'", "to": ["crm"]}]
    write_config(folder, sinks=files(folder, "crm"), routes=routes)
    async with opened(folder) as store:
        given: dict[str, Any] = {"type": HOSTILE, "uuid": HOSTILE, "webhook_id": HOSTILE, "stream": HOSTILE}
        event_id = await accept(store, "crm", key=HOSTILE, body=orjson.dumps({"title": HOSTILE * 20}), **given)
        await settle(store, "crm", Dead(failure=Failure(reason=Reason.REFUSED, detail=HOSTILE)))
    return event_id


async def test_no_event_reaches_the_terminal_raw(tmp_path: Path) -> None:
    event_id = await hostile(tmp_path)
    for style in ([], ["--json"]):
        shown = await done(tmp_path, "why", event_id, *style)
        assert harmless(shown)
        assert "[/nope]" in shown


async def test_what_is_long_wraps_in_a_narrow_terminal(tmp_path: Path) -> None:
    lines = in_terminal(tmp_path, 80, "why", await hostile(tmp_path))
    assert all(len(line) <= 80 for line in lines if line.startswith("    "))


@over_each_store
async def test_the_story_of_a_relay_that_runs(tmp_path: Path) -> None:
    async with FakeHttp(default=Answer(410)) as receiver:
        sinks = {"crm": {"type": "http", "url": receiver.url, "allow_private": True}}
        async with relay_running(tmp_path, sinks=sinks) as relay:
            event_id = (await relay.post(payload())).json["id"]

            async def told() -> bool:
                [held] = await holds(tmp_path, event_id)
                return "the sink is paused since" in held and "gone: the service answered 410" in held

            await until(told, "what holds it")
            shown = await as_json(tmp_path, "why", event_id)
            assert [attempt["reason"] for attempt in shown["deliveries"][0]["attempts"]] == ["gone"]
            assert shown["config_changed"] is False
