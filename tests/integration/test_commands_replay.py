"""`relay replay`: what it chooses, what it changes, what it says, and that it really goes out again."""

from __future__ import annotations

import asyncio
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import apsw
import pytest

from relay.errors import StoreUnavailable
from relay.model import DeliveryState, Selection
from relay.ports import Store
from relay.records import Step
from relay.replaying import Schedule, replay
from tests.commands import as_json, done, in_terminal, invoke, opened, settle
from tests.fakes.http import Answer, FakeHttp
from tests.replays import DEAD, DONE, HOUR, accept, filled, post, records
from tests.running import relay_running, until, write_config
from tests.storing import over_each_store


@pytest.mark.parametrize("arguments", [[], ["--state", "any"], ["--dry-run", "--rate", "1/s"], ["--reroute"]], ids=str)
async def test_all_is_only_replayed_where_that_is_said(tmp_path: Path, arguments: list[str]) -> None:
    await filled(tmp_path)
    result = await invoke(tmp_path, "replay", *arguments)
    assert result.exit_code == 2
    assert "or say --all" in result.stderr
    assert await as_json(tmp_path, "replay", "--all", "--dry-run") != []


@over_each_store
async def test_dead_letters_are_replayed_where_nothing_else_is_said(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    before = datetime.now(UTC)
    said = await done(tmp_path, "replay", "--all")
    assert said.splitlines()[0] == "1 delivery goes out"
    assert "`relay deliveries list --sink crm`" in said
    [again] = [record for record in await records(tmp_path) if record.replay]
    assert (again.event_id, again.sink, again.state, again.replay) == (ids["old"], "crm", DeliveryState.PENDING, 1)
    assert again.due_at is not None
    assert before <= again.due_at <= datetime.now(UTC)
    assert (await done(tmp_path, "replay", "--all")).startswith("no dead deliveries fit; ")


async def test_a_dry_run_counts_and_changes_nothing(tmp_path: Path) -> None:
    await filled(tmp_path)
    before = await records(tmp_path)
    head, *rows, last = (await done(tmp_path, "replay", "--all", "--state", "any", "--dry-run")).splitlines()
    assert head.split() == ["sink", "route", "state", "count", "oldest", "(UTC)", "newest", "(UTC)"]
    assert [row.split()[:4] for row in rows] == [
        ["audit", "everything", "delivered", "1"],
        ["crm", "everything", "dead", "1"],
        ["crm", "other", "delivered", "1"],
    ]
    assert last == "3 deliveries would go out again; nothing was changed"
    found = await as_json(tmp_path, "replay", "--all", "--dry-run")
    assert (found["fit"], found["replayed"], found["last"]) == (1, 0, None)
    assert [(each["sink"], each["count"]) for each in found["deliveries"]] == [("crm", 1)]
    assert await records(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "fit"),
    [
        (["--all"], 1),
        (["--all", "--state", "delivered"], 2),
        (["--all", "--state", "any"], 3),
        (["--all", "--state", "dead", "--state", "pending"], 2),
        (["--all", "--state", "any", "--state", "pending"], 4),
        (["--event", "old", "--state", "any"], 2),
        (["--meeting", "b", "--state", "any"], 1),
        (["--source", "realtimekit", "--state", "any"], 1),
        (["--type", "meeting.e*", "--state", "any"], 2),
        (["--sink", "audit", "--state", "any"], 1),
        (["--route", "other", "--state", "any"], 1),
        (["--since", "30m", "--state", "any"], 1),
        (["--until", "30m", "--state", "any"], 2),
        (["--since", "2h", "--until", "30m", "--sink", "crm", "--state", "any"], 1),
        (["--since", "2020-01-01", "--state", "any"], 3),
        (["--until", "2020-01-01T00:00:00+02:00", "--state", "any"], 0),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)
async def test_each_option_chooses(tmp_path: Path, arguments: list[str], fit: int) -> None:
    ids = await filled(tmp_path)
    words = [ids.get(word, word) for word in arguments]
    assert (await as_json(tmp_path, "replay", "--dry-run", *words))["fit"] == fit


async def test_an_event_is_named_by_its_uuid_too(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    async with opened(tmp_path) as store:
        found = await store.event(ids["old"])
    assert found is not None
    assert (await as_json(tmp_path, "replay", "--event", found.event.uuid or ""))["replayed"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--event", "nothing"], 1, "no event 'nothing'"),
        (["--event", "nothing", "--reroute"], 1, "no event 'nothing'"),
        (["--sink", "crn"], 2, "there is no sink 'crn'; did you mean crm?"),
        (["--since", "yesterday"], 2, "write a time such as 2026-11-23T10:00"),
        (["--since", "1h", "--until", "2h"], 2, "--since is not before --until"),
        (["--all", "--rate", "fast"], 2, "'fast' is not a rate; write it like 1/s or 300/m; or none"),
        (["--all", "--state", "lost"], 2, "'lost' is not one of"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)
async def test_a_slip_of_the_pen_is_told(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    await filled(tmp_path)
    result = await invoke(tmp_path, "replay", *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.output
    assert all(record.replay == 0 for record in await records(tmp_path))


async def test_where_nothing_fits_it_says_what_would(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    assert (await done(tmp_path, "replay", "--sink", "audit")).strip() == (
        "no dead deliveries fit; 1 delivered one does: add --state delivered"
    )
    assert "1 pending one does: add --state pending" in await done(tmp_path, "replay", "--event", ids["waits"])
    assert (await done(tmp_path, "replay", "--type", "nothing.*")).startswith("no deliveries fit, in whatever state")
    async with opened(tmp_path) as store:
        unrouted = await accept(store)
    assert "the event is unrouted: add --reroute" in await done(tmp_path, "replay", "--event", unrouted)
    assert (await as_json(tmp_path, "replay", "--sink", "audit"))["fit"] == 0


async def test_a_pending_one_does_not_wait_out_its_back_off(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    assert (await as_json(tmp_path, "replay", "--event", ids["waits"], "--state", "pending"))["replayed"] == 1
    [hurried] = await records(tmp_path, event_id=ids["waits"])
    assert hurried.due_at is not None
    assert (hurried.due_at <= datetime.now(UTC), hurried.replay) == (True, 0)
    said = await done(tmp_path, "replay", "--event", ids["waits"], "--state", "pending")
    assert said.startswith("1 fit, and were left: it is due already")


async def test_what_died_since_the_count_is_no_remainder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(tmp_path)

    async def one_more_dies(store: Store, *given: Any, **more: Any) -> int:
        await accept(store, "crm", meeting="d", received_at=datetime.now(UTC) - HOUR)
        await settle(store, "crm", DEAD)
        return await replay(store, *given, **more)

    monkeypatch.setattr("relay.commands.replay.replay_all", one_more_dies)
    said = await done(tmp_path, "replay", "--all")
    assert said.startswith("2 deliveries go out")
    assert "left" not in said


@over_each_store
@pytest.mark.parametrize(("rate", "apart"), [(None, 0.02), ("2/m", 30.0), ("none", 0.0)])
async def test_replays_are_spaced_over_all_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: str | None, apart: float
) -> None:
    monkeypatch.setattr("relay.replaying.STEP", 2)
    write_config(tmp_path)
    async with opened(tmp_path) as store:
        events = [await accept(store, "audit") for _ in range(5)]
        await settle(store, "audit", DEAD)
    made = await as_json(tmp_path, "replay", "--sink", "audit", *([] if rate is None else ["--rate", rate]))
    again = await records(tmp_path)
    assert [record.event_id for record in again] == events
    dues = [record.due_at for record in again if record.due_at is not None]
    assert [(later - earlier).total_seconds() for earlier, later in pairwise(dues)] == [apart] * 4
    assert (made["fit"], made["replayed"], datetime.fromisoformat(made["last"])) == (5, 5, dues[-1])
    assert all(record.replay == 1 for record in again)


@over_each_store
async def test_what_comes_in_during_a_replay_is_not_sent_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live: list[str] = []
    async with opened(tmp_path) as store:
        as_it_was = store.replay

        async def while_others_come_in(*arguments: Any, **more: Any) -> Step[int]:
            live.append(await accept(store, "crm"))
            await settle(store, "crm", DONE)
            return await as_it_was(*arguments, **more)

        monkeypatch.setattr(store, "replay", while_others_come_in)
        monkeypatch.setattr("relay.replaying.STEP", 1)
        for _ in range(2):
            await accept(store, "crm")
        await settle(store, "crm", DONE)
        schedule = Schedule(began=datetime.now(UTC) + HOUR, spacing=timedelta(0))
        assert await replay(store, Selection(states=frozenset({DeliveryState.DELIVERED})), schedule) == 2
        for event_id in live:
            [found] = await store.deliveries(event_id=event_id)
            assert found.replay == 0
        assert len(live) == 3


async def test_a_busy_store_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.stores.sqlite.connection.BUSY_TIMEOUT_MS", 1)
    async with opened(tmp_path) as store:
        await accept(store, "crm")
        await settle(store, "crm", DEAD)
        with closing(apsw.Connection(str(tmp_path / "relay.db"))) as other:
            other.execute("BEGIN IMMEDIATE")
            nothing = Selection(states=frozenset({DeliveryState.PENDING}))
            schedule = Schedule(began=datetime.now(UTC), spacing=timedelta(0))
            assert await replay(store, nothing, schedule) == 0, "looking for them needs no lock"
            asked = asyncio.create_task(replay(store, Selection(), schedule))
            failures = 0
            as_it_was = store.replay

            async def counted(*arguments: Any, **more: Any) -> Step[int]:
                nonlocal failures
                try:
                    return await as_it_was(*arguments, **more)
                except StoreUnavailable:
                    failures += 1
                    raise

            monkeypatch.setattr(store, "replay", counted)
            await until(lambda: _is(failures >= 2), "two refusals")
            other.execute("ROLLBACK")
            assert await asked == 1
        assert [record.replay for record in await store.deliveries()] == [1]


async def _is(condition: bool) -> bool:  # noqa: FBT001
    return condition


async def test_a_replay_to_a_sink_that_sends_nothing_says_so(tmp_path: Path) -> None:
    await filled(tmp_path)
    sink = {"type": "file", "path": str(tmp_path / "x")}
    write_config(tmp_path, sinks={"crm": {**sink, "enabled": False}})
    result = await invoke(tmp_path, "replay", "--all", "--state", "any", "--dry-run")
    assert "audit only waits: the sink is not in relay.yaml" in result.stderr
    assert "crm only waits: the sink is disabled in relay.yaml" in result.stderr
    assert (await done(tmp_path, "replay", "--all", "--state", "any")).startswith("3 deliveries go out")


async def test_the_table_fits_a_narrow_terminal(tmp_path: Path) -> None:
    await filled(tmp_path)
    lines = in_terminal(tmp_path, 80, "replay", "--all", "--state", "any", "--dry-run")
    assert len(lines) == 5
    assert all(len(line) <= 80 for line in lines)


# With a relay that runs


def http(receiver: FakeHttp, **more: Any) -> dict[str, Any]:
    return {"type": "http", "url": receiver.url, "allow_private": True, **more}


async def test_a_dead_letter_arrives_once_its_receiver_is_mended(tmp_path: Path) -> None:
    async with (
        FakeHttp().will(Answer(400)) as receiver,
        relay_running(tmp_path, sinks={"crm": http(receiver)}) as relay,
    ):
        event_id = await post(relay, "m")
        await relay.settled("crm", 1)
        await done(tmp_path, "replay", "--sink", "crm")
        first, again = await receiver.wait_for(2)
        await relay.delivered("crm", 1)
        assert first.headers["webhook-id"] == again.headers["webhook-id"] == event_id
        assert first.body == again.body
        assert ("relay-replay" in first.headers, again.headers["relay-replay"]) == (False, "1")
        await done(tmp_path, "replay", "--event", event_id, "--state", "delivered")
        third = (await receiver.wait_for(3))[2]
        assert third.headers["relay-replay"] == "2"
        await relay.drained()


async def test_live_events_go_before_replays(tmp_path: Path) -> None:
    async with (
        FakeHttp() as receiver,
        relay_running(tmp_path, sinks={"crm": http(receiver, concurrency=1, rate="20/s")}) as relay,
    ):
        async with opened(tmp_path) as store:
            for number in range(100):
                await accept(store, "crm", meeting=f"old-{number}")
            await settle(store, "crm", DONE)
        await done(tmp_path, "replay", "--sink", "crm", "--state", "delivered", "--rate", "none")
        await receiver.wait_for(5)
        live = set(await asyncio.gather(*(post(relay, f"live-{number}") for number in range(5))))
        accepted = len(receiver.requests)

        async def all_live() -> bool:
            return live <= {request.headers["webhook-id"] for request in receiver.requests}

        await until(all_live, "five live ones")
        waiting = (await relay.app.store.backlog())["crm"].pending
        ids = [request.headers["webhook-id"] for request in receiver.requests]
        last = max(ids.index(each) for each in live)
        between = [request for request in receiver.requests[accepted:last] if "relay-replay" in request.headers]
        assert len(between) <= 1, "no more than was under way already"
        assert waiting >= 50, "the others still wait"


async def test_replays_of_a_meeting_keep_their_order_whatever_fails(tmp_path: Path) -> None:
    sink = {"order": "meeting", "retry": {"base": "10ms"}}
    async with FakeHttp() as receiver, relay_running(tmp_path, sinks={"crm": http(receiver, **sink)}) as relay:
        events = [await post(relay, "m", number=number) for number in range(6)]
        await relay.delivered("crm", 6)
        receiver.will(Answer(503), Answer(503), Answer(200), Answer(503))
        await done(tmp_path, "replay", "--meeting", "m", "--state", "delivered", "--rate", "none")
        await receiver.wait_for(6 + 6 + 3)
        await relay.drained()
        seen = [request.headers["webhook-id"] for request in receiver.requests[6:]]
    assert seen == [events[0]] * 3 + [events[1]] * 2 + events[2:]
