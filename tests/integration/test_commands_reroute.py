"""`relay replay --reroute`: events go where the routes of today would send them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from relay.config import load
from relay.model import EventState, Quarantine
from tests.commands import as_json, done, files, invoke, opened
from tests.replays import accept, filled, post, records
from tests.running import ORGANIZATION, relay_running, write_config
from tests.storing import over_each_store


def routes(**to: Sequence[str]) -> list[dict[str, Any]]:
    return [{"name": name, "to": list(sinks)} for name, sinks in to.items()]


@over_each_store
async def test_events_get_what_the_routes_of_today_choose_and_they_lack(tmp_path: Path) -> None:
    ids = await filled(tmp_path)
    config = load(
        write_config(tmp_path, sinks=files(tmp_path, "crm", "audit", "new"), routes=routes(r=["crm", "new"])), {}
    )
    before = await records(tmp_path)
    planned = await as_json(tmp_path, "replay", "--all", "--reroute", "--dry-run")
    assert planned["deliveries"] == [
        {"sink": "crm", "route": "r", "missing": 0, "again": 1},
        {"sink": "new", "route": "r", "missing": 3, "again": 0},
    ]
    assert (planned["events"], planned["added"], planned["replayed"]) == (3, 0, 0)
    assert await records(tmp_path) == before
    said = await done(tmp_path, "replay", "--all", "--reroute")
    assert said.startswith("4 deliveries go out (3 added, 1 again)")
    added = await records(tmp_path, sink="new")
    assert [(record.event_id, record.route, record.replay, record.config) for record in added] == [
        (ids[name], "r", 1, config.hash) for name in ("old", "new", "waits")
    ]
    assert [record.replay for record in await records(tmp_path, sink="crm")] == [1, 0, 0], "only the dead one"
    assert [record.replay for record in await records(tmp_path, sink="audit")] == [0], "no route names it any more"
    assert (await done(tmp_path, "replay", "--all", "--reroute")).startswith("nothing to do: 3 events looked at")


async def test_a_reroute_keeps_to_the_states_the_sink_and_the_route_that_are_named(tmp_path: Path) -> None:
    await filled(tmp_path)
    write_config(
        tmp_path, sinks=files(tmp_path, "crm", "audit", "new"), routes=routes(a=["crm"], b=["new"], c=["audit"])
    )
    for arguments, wanted in (
        (["--state", "delivered", "--sink", "crm"], [("crm", 0, 1)]),
        (["--state", "any", "--state", "pending", "--sink", "crm"], [("crm", 0, 3)]),
        (["--route", "b"], [("new", 3, 0)]),
        (["--route", "c", "--since", "30m"], [("audit", 2, 0)]),
        (["--sink", "gone"], []),
    ):
        planned = await as_json(tmp_path, "replay", "--reroute", "--dry-run", *arguments)
        assert [(each["sink"], each["missing"], each["again"]) for each in planned["deliveries"]] == wanted, arguments


async def test_what_is_quarantined_is_judged_again(tmp_path: Path) -> None:
    sinks = files(tmp_path, "crm")
    write_config(tmp_path, sinks=sinks)
    async with opened(tmp_path) as store:
        event_id = await accept(store, organization=ORGANIZATION, quarantine=Quarantine.ORGANIZATION)

    async def reroute(**source: Any) -> Any:
        write_config(tmp_path, sinks=sinks, sources={source.pop("name", "dyte"): source})
        return await as_json(tmp_path, "replay", "--event", event_id, "--reroute")

    for refused in ({"organizations": ["another"]}, {"webhook_ids": ["another"]}, {"name": "other"}):
        assert (await reroute(**refused))["refused"] == 1, refused
    assert await records(tmp_path) == []
    assert (await reroute(organizations=[ORGANIZATION]))["added"] == 1
    async with opened(tmp_path) as store:
        found = await store.event(event_id)
    assert found is not None
    assert (found.state, found.detail) == (EventState.ROUTED, "")


async def test_what_was_let_in_once_is_judged_by_the_lists_of_today(tmp_path: Path) -> None:
    sinks = files(tmp_path, "crm")
    async with opened(tmp_path) as store:
        event_id = await accept(store, organization=ORGANIZATION)
    write_config(tmp_path, sinks=sinks, sources={"dyte": {"organizations": ["another"]}})
    said = await done(tmp_path, "replay", "--event", event_id, "--reroute")
    assert "1 event is left alone: the allow-lists of today refuse it" in said
    write_config(tmp_path, sinks=sinks, sources={"other": {}})
    assert (await as_json(tmp_path, "replay", "--event", event_id, "--reroute"))["added"] == 1, "nobody to judge it"


async def test_a_reroute_needs_the_whole_configuration(tmp_path: Path) -> None:
    await filled(tmp_path)
    write_config(tmp_path, routes=[{"name": "r", "to": ["nobody"]}])
    result = await invoke(tmp_path, "replay", "--all", "--reroute")
    assert result.exit_code == 2
    assert "there is no sink `nobody`" in result.stderr
    assert (await as_json(tmp_path, "replay", "--all"))["replayed"] == 1, "without --reroute only the store counts"


async def test_events_reach_a_route_that_was_added_later(tmp_path: Path) -> None:
    sinks = files(tmp_path, "crm", "new")
    async with relay_running(tmp_path, sinks=sinks, routes=routes(r=["crm"])) as relay:
        events = [await post(relay, f"m-{number}") for number in range(3)]
        await relay.delivered("crm", 3)
        await relay.app.reload(load(write_config(tmp_path, sinks=sinks, routes=routes(r=["crm"], s=["new"])), {}))
        await done(tmp_path, "replay", "--since", "1h", "--reroute")
        await relay.delivered("new", 3)
    lines = [orjson.loads(line) for line in (tmp_path / "new").read_bytes().splitlines()]
    assert [(line["id"], line["route"], line["replay"]) for line in lines] == [(each, "s", 1) for each in events]
    assert len((tmp_path / "crm").read_bytes().splitlines()) == 3
