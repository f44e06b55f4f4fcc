"""`relay events` and `relay deliveries`: what they show, of what, and that no event can touch the terminal."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.identity import new_event_id
from relay.model import Admission, Dead, Delivered, Event, Failure, Reason, Target, Verdict
from relay.ports import Store
from relay.stores import open_store
from tests.commands import harmless, in_terminal, invoke, opened, pretend_terminal, terminal_text
from tests.running import MEETING, payload, relay_running, write_config
from tests.storing import over_each_store, store_url

START = datetime(2026, 11, 23, 10, tzinfo=UTC)
HOSTILE = "[red]m[/nope]\x1b[2J\x9b31m\u202e:key:\r\n\x07 \\[bold]"


def event(number: int, kind: str, body: dict[str, Any], *, meeting: str = MEETING) -> Event:
    """An event of that number's millisecond."""
    moment = START + timedelta(milliseconds=number)
    return Event(
        id=new_event_id(moment),
        source="dyte",
        type=kind,
        body=orjson.dumps(body),
        headers={"user-agent": meeting},
        received_at=moment,
        uuid=f"uuid-{number}",
        meeting=meeting,
    )


async def filled(folder: Path) -> dict[str, str]:
    """A store with three events: delivered, dead at one sink, and hostile beyond what a gateway lets in; their ids."""
    write_config(folder)
    recording = payload("recording.statusUpdate", recording={"status": "UPLOADED"})
    events = {
        "plain": event(1, "meeting.started", payload()),
        "dead": event(2, "recording.statusUpdate", recording),
        "hostile": event(3, f"recording.{HOSTILE}", {"title": HOSTILE}, meeting=HOSTILE),
    }
    store = await open_store(store_url(folder))
    try:
        for name, each in events.items():
            sinks = ["audit"] if name == "plain" else ["audit", "crm"]
            await store.accept(Admission(event=each, targets=[Target(route="everything", sink=sink) for sink in sinks]))
        await _settle(store, "audit", Delivered(receipt=f"line {HOSTILE}"))
        failure = Failure(reason=Reason.REFUSED, detail=f"the service answered 400 {HOSTILE}")
        await _settle(store, "crm", Dead(failure=failure))
    finally:
        await store.close()
    return {name: each.id for name, each in events.items()}


async def _settle(store: Store, sink: str, verdict: Verdict) -> None:
    now = datetime.now(UTC)
    claimed = await store.claim(sink, limit=10, now=now, lease=timedelta(minutes=1))
    assert all(await store.settle([(delivery, verdict) for delivery in claimed], now=now))


@over_each_store
async def test_events(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    result = await invoke(tmp_path, "events", "list")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["accepted", "(UTC)", "event", "source", "type", "meeting", "state"]
    assert [row.split()[2] for row in rows] == [ids[name][:18] for name in ("hostile", "dead", "plain")]
    assert rows[-1].split()[3:] == ["dyte", "meeting.started", MEETING, "routed"]


@over_each_store
async def test_events_can_be_chosen(tmp_path: Path) -> None:
    ids = await filled(tmp_path)

    async def chosen(*options: str) -> list[str]:
        found = json.loads((await invoke(tmp_path, "events", "list", "--json", *options)).stdout)
        return [record["id"] for record in found]

    assert await chosen() == [ids["hostile"], ids["dead"], ids["plain"]]
    assert await chosen("--limit", "1") == [ids["hostile"]]
    assert await chosen("--type", "meeting.*") == [ids["plain"]]
    assert await chosen("--meeting", MEETING) == [ids["dead"], ids["plain"]]
    assert await chosen("--source", "other") == []
    assert await chosen("--state", "unrouted") == []


async def test_one_event_by_its_short_id(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    result = await invoke(tmp_path, "events", "show", ids["dead"][:18])
    assert result.exit_code == 0
    assert f"id            {ids['dead']}\n" in result.stdout
    assert "Täglich" not in result.stdout
    assert "UPLOADED" not in result.stdout
    assert result.stdout.count(ids["dead"][:18]) == 3
    with_body = await invoke(tmp_path, "events", "show", ids["dead"], "--body")
    assert (
        orjson.dumps(payload("recording.statusUpdate", recording={"status": "UPLOADED"})).decode() in with_body.stdout
    )


@over_each_store
async def test_one_event_as_json(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    shown = json.loads((await invoke(tmp_path, "events", "show", ids["hostile"], "--body", "--json")).stdout)
    assert shown["meeting"] == HOSTILE
    assert json.loads(shown["body"])["title"] == HOSTILE
    assert {record["sink"]: record["state"] for record in shown["deliveries"]} == {"audit": "delivered", "crm": "dead"}
    assert "body" not in json.loads((await invoke(tmp_path, "events", "show", ids["hostile"], "--json")).stdout)


async def test_an_event_that_is_not_there(tmp_path: Path) -> None:
    await filled(tmp_path)
    for wrong in ("nope", "", "0", "\udcff", "\U0010ffff", "[red]x[/nope]"):
        result = await invoke(tmp_path, "events", "show", wrong)
        assert result.exit_code == 1, wrong
        assert isinstance(result.exception, SystemExit), wrong
        assert "see `relay events list`" in result.stderr


async def test_text_that_is_no_unicode_finds_nothing(tmp_path: Path) -> None:
    await filled(tmp_path)
    result = await invoke(tmp_path, "events", "list", "--meeting", "\udcff")
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert result.exit_code == 0
    assert result.stdout == "no events\n"


async def test_deliveries(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    result = await invoke(tmp_path, "deliveries", "list", "--state", "dead")
    assert result.exit_code == 0
    head, *rows = result.stdout.splitlines()
    assert head.split() == ["event", "type", "sink", "route", "state", "when", "(UTC)"]
    assert len(rows) == 2
    assert rows[1].startswith(f"{ids['dead'][:18]}  recording.statusUpdate")
    assert "  refused: the service answered 400 [red]m[/nope]\\x1b[2J" in rows[1]


@over_each_store
async def test_deliveries_can_be_chosen(tmp_path: Path) -> None:
    ids = await filled(tmp_path)

    async def chosen(*options: str) -> list[tuple[str, str]]:
        found = json.loads((await invoke(tmp_path, "deliveries", "list", "--json", *options)).stdout)
        return [(record["event_id"], record["sink"]) for record in found]

    assert len(await chosen()) == 5
    assert await chosen("--sink", "crm", "--meeting", MEETING) == [(ids["dead"], "crm")]
    assert set(await chosen("--event", ids["dead"])) == {(ids["dead"], "crm"), (ids["dead"], "audit")}
    assert set(await chosen("--event", ids["dead"][:18])) == {(ids["dead"], "crm"), (ids["dead"], "audit")}
    assert await chosen("--event", "nope") == []
    assert await chosen("--limit", "1", "--state", "dead") == [(ids["hostile"], "crm")]


async def test_failed_attempts_are_in_the_json(tmp_path: Path) -> None:
    await filled(tmp_path)
    found = json.loads((await invoke(tmp_path, "deliveries", "list", "--state", "dead", "--json")).stdout)
    assert [attempt["reason"] for record in found for attempt in record["attempts"]] == ["refused", "refused"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("events", "list"),
        ("deliveries", "list"),
        ("events", "show", "hostile"),
        ("events", "show", "hostile", "--body"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("style", ["text", "json"])
async def test_no_event_reaches_the_terminal_raw(tmp_path: Path, arguments: tuple[str, ...], style: str) -> None:
    ids = await filled(tmp_path)
    words = [ids.get(word, word) for word in arguments]
    result = await invoke(tmp_path, *words, *(["--json"] if style == "json" else []))
    assert result.exit_code == 0, result.exception
    assert harmless(result.output)
    assert "[red]" in result.stdout
    assert "[/nope]" in result.stdout


async def test_nothing_yet(tmp_path: Path) -> None:
    async with relay_running(tmp_path):
        pass
    assert (await invoke(tmp_path, "events", "list")).stdout == "no events\n"
    assert (await invoke(tmp_path, "deliveries", "list")).stdout == "no deliveries\n"
    for what in ("events", "deliveries"):
        assert json.loads((await invoke(tmp_path, what, "list", "--json")).stdout) == []


async def test_no_store_yet(tmp_path: Path) -> None:
    write_config(tmp_path)
    for what in ("events", "deliveries"):
        result = await invoke(tmp_path, what, "list")
        assert result.exit_code == 1
        assert result.stderr == f"store: there is no {tmp_path}/relay.db yet; `relay serve` creates it\n"
    assert not _exists(tmp_path / "relay.db")


@over_each_store
async def test_beside_a_relay_that_runs(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        given = (await relay.post()).json["id"]
        result = await invoke(tmp_path, "events", "show", given)
        assert result.exit_code == 0, result.output
        assert (await relay.post()).status == 200


@pytest.mark.parametrize("width", [24, 80, 100])
async def test_a_terminal_gets_one_line_a_row_as_wide_as_it_is(tmp_path: Path, width: int) -> None:
    ids = await filled(tmp_path)
    head, *rows = in_terminal(tmp_path, width, "events", "list")
    assert head.startswith("accepted (UTC)")
    assert len(rows) == 3
    assert ids["plain"][:18] in rows[-1]
    assert rows[-1].endswith("routed")
    if width >= 80:
        assert all(len(row) <= width for row in rows)


@pytest.mark.parametrize(("width", "left_out"), [(80, {"source", "meeting"}), (98, {"source"}), (140, set())])
async def test_a_narrow_terminal_gets_fewer_columns_rather_than_halves_of_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, left_out: set[str]
) -> None:
    write_config(tmp_path)
    async with opened(tmp_path) as store:
        await store.accept(Admission(event=event(1, "meeting.participantJoined", {}), targets=[]))
    pretend_terminal(monkeypatch, width)
    head, row = (await invoke(tmp_path, "events", "list")).stdout.splitlines()
    assert {"source", "meeting"} - set(head.split()) == left_out
    assert "meeting.participantJoined" in row
    assert "…" not in row
    assert len(row) <= width


async def test_a_reason_stands_below_its_row(tmp_path: Path) -> None:
    await filled(tmp_path)
    lines = in_terminal(tmp_path, 100, "deliveries", "list", "--state", "dead", "--meeting", MEETING)
    assert len(lines) == 3
    assert lines[2].startswith("    refused: the service answered 400 [red]m[/nope]\\x1b[2J")


async def test_colour_is_for_terminals_that_want_it(tmp_path: Path) -> None:
    await filled(tmp_path)
    assert "\x1b[1m" in terminal_text(tmp_path, 100, {}, "deliveries", "list")
    broken = write_config(tmp_path / "..", routes=[{"name": "a", "events": ["*"], "to": ["nobody"]}])
    assert "\x1b[31m" in terminal_text(broken.parent, 100, {}, "check")
    assert "\x1b[3" not in terminal_text(broken.parent, 100, {"NO_COLOR": "1"}, "check")


def _exists(path: Path) -> bool:
    return path.exists()


async def test_the_ledger_needs_no_secret_of_the_sinks(tmp_path: Path) -> None:
    await filled(tmp_path)
    file = tmp_path / "relay.yaml"
    text = await asyncio.to_thread(file.read_text)
    await asyncio.to_thread(file.write_text, text.replace("127.0.0.1:0", "${UNSET_ADDRESS}", 1))
    assert (await invoke(tmp_path, "events", "list")).exit_code == 0
    assert (await invoke(tmp_path, "check")).exit_code == 2


@pytest.mark.parametrize("store", ["'${UNSET_STORE}'", "mysql://x", "[1]"])
async def test_a_wrong_store_is_told(tmp_path: Path, store: str) -> None:
    await asyncio.to_thread((tmp_path / "relay.yaml").write_text, f"store: {store}\nsinks: 7\n")
    result = await invoke(tmp_path, "events", "list")
    assert result.exit_code == 2
    assert [line.partition(" ")[0] for line in result.stderr.splitlines()] == [f"{tmp_path / 'relay.yaml'}:1:"]
