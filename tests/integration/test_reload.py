"""Another configuration while the relay runs: in force at once and as a whole, or not at all; no request is lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from relay.config import Config, load
from relay.errors import ConfigError
from relay.model import Failure, Reason
from tests.fakes.http import Answer, FakeHttp, Hang
from tests.fakes.keys import key_pair
from tests.running import Relay, config, payload, relay_running, until, write_config


def file_sink(folder: Path, name: str, **more: Any) -> dict[str, Any]:
    return {"type": "file", "path": str(folder / f"{name}.jsonl"), **more}


def changed(folder: Path, **parts: Any) -> Config:
    return load(write_config(folder, **parts), {})


def meetings(folder: Path, name: str) -> list[str]:
    file = folder / f"{name}.jsonl"
    lines = file.read_bytes().splitlines() if file.exists() else []
    return [orjson.loads(line)["subject"] for line in lines]


async def post(relay: Relay, meeting: str) -> None:
    assert (await relay.post(payload(meeting=meeting))).status == 200


async def test_routes_and_sinks_change_at_once(tmp_path: Path) -> None:
    async with relay_running(tmp_path, sinks={"old": file_sink(tmp_path, "old")}) as relay:
        await post(relay, "m-1")
        await relay.delivered("old", 1)
        new = changed(tmp_path, sinks={"new": file_sink(tmp_path, "new")})
        await relay.app.reload(new)
        await post(relay, "m-2")
        await relay.drained()
        records = await relay.app.store.deliveries()
        assert [record.config for record in records] == [new.hash, records[1].config]
        metrics = await relay.metrics()
    assert (meetings(tmp_path, "old"), meetings(tmp_path, "new")) == (["m-1"], ["m-2"])
    assert metrics[f'relay_config_info{{hash="{new.hash}"}}'] == 1
    assert len([name for name in metrics if name.startswith("relay_config_info")]) == 1
    assert 'relay_sink_state{sink="old",state="open"}' not in metrics


async def test_what_does_not_change_is_kept(tmp_path: Path) -> None:
    both = {"same": file_sink(tmp_path, "same"), "other": file_sink(tmp_path, "other")}
    async with relay_running(tmp_path, sinks=both) as relay:
        before = relay.app.parts
        lanes = dict(relay.app.dispatcher.lanes)
        await relay.app.reload(changed(tmp_path, sinks=both | {"other": file_sink(tmp_path, "other", concurrency=3)}))
        after = relay.app.parts
        assert after.sinks["same"] is before.sinks["same"]
        assert after.sinks["other"] is not before.sinks["other"]
        assert relay.app.dispatcher.lanes["same"] is lanes["same"]
        assert relay.app.dispatcher.lanes["other"] is not lanes["other"]


async def test_the_backlog_of_a_sink_that_is_gone_stays_and_shows(tmp_path: Path) -> None:
    waiting = {"gone": file_sink(tmp_path, "gone", enabled=False)}
    async with relay_running(tmp_path, sinks=waiting) as relay:
        await post(relay, "m-1")
        await relay.app.reload(changed(tmp_path, sinks={}))
        assert (await relay.metrics())['relay_backlog{sink="(removed)"}'] == 1
        await relay.app.reload(changed(tmp_path, sinks={"gone": file_sink(tmp_path, "gone")}))
        await relay.drained()
        assert 'relay_backlog{sink="(removed)"}' not in await relay.metrics()
    assert meetings(tmp_path, "gone") == ["m-1"]


async def test_an_attempt_under_way_is_finished_by_the_old_sink(tmp_path: Path) -> None:
    async with FakeHttp(default=Hang()) as receiver:
        sink = {"type": "http", "url": receiver.url, "allow_private": True, "timeout": "10s"}
        async with relay_running(tmp_path, sinks={"crm": sink}) as relay:
            await post(relay, "m-1")
            await receiver.wait_for(1)
            new = changed(tmp_path, sinks={"crm": sink | {"timeout": "9s"}})
            reloading = asyncio.create_task(relay.app.reload(new))
            await until(lambda: _is(relay.app.config.sinks["crm"].timeout.total_seconds() == 9), "the new timeout")
            await post(relay, "m-2")
            await receiver.wait_for(2)
            await reloading
            received = [request.headers["ce-subject"] for request in receiver.requests[:2]]
    assert received == ["m-1", "m-2"], "the new lane leaves alone what the old one has begun"


async def _is(condition: bool) -> bool:  # noqa: FBT001
    return condition


@pytest.mark.parametrize(
    "fixed",
    [{"store": "sqlite:///elsewhere.db"}, {"gateway": {"listen": "127.0.0.1:1"}}, {"admin": {"listen": "127.0.0.1:1"}}],
    ids=["store", "gateway", "admin"],
)
async def test_what_needs_a_restart_is_refused_and_nothing_changes(tmp_path: Path, fixed: dict[str, Any]) -> None:
    async with relay_running(tmp_path) as relay:
        before = relay.app.parts
        text = orjson.dumps(config(tmp_path, sinks={"new": file_sink(tmp_path, "new")}) | fixed)
        await asyncio.to_thread((tmp_path / "relay.yaml").write_bytes, text)
        with pytest.raises(ConfigError, match=f"{next(iter(fixed))}: cannot change while the relay runs; restart it"):
            await relay.app.reload(load(tmp_path / "relay.yaml", {}))
        assert relay.app.parts is before
        await post(relay, "m-1")
        await relay.delivered("audit", 1)


async def test_a_refusal_shows_until_a_good_one_comes(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        relay.app.refuse("relay.yaml:3: sinks.crm.url: is missing")
        ready = await relay.admin("/readyz")
        assert ready.status == 200, "it works on as it did"
        assert ready.json["checks"]["config"] == "the newest one was refused: relay.yaml:3: sinks.crm.url: is missing"
        assert (await relay.metrics())["relay_config_last_reload_successful"] == 0
        await relay.app.reload(changed(tmp_path))
        assert (await relay.admin("/readyz")).json["checks"]["config"] == "ok"
        assert (await relay.metrics())["relay_config_last_reload_successful"] == 1


async def test_keys_change_with_their_source(tmp_path: Path) -> None:
    other = key_pair("other")
    async with relay_running(tmp_path) as relay:
        await relay.app.reload(changed(tmp_path, sources={"dyte": {"public_key": other.public_pem, "path": "/new"}}))
        assert (await relay.post(payload())).status == 404
        assert (await relay.post(payload(), path="/new")).status == 401
        assert (await relay.post(payload(), path="/new", key=other)).status == 200


async def test_no_request_is_lost_and_nothing_arrives_twice_over_many_reloads(tmp_path: Path) -> None:
    async with relay_running(tmp_path, sinks={"audit": file_sink(tmp_path, "audit")}) as relay:
        ended = asyncio.Event()

        async def send(sender: int) -> list[str]:
            sent: list[str] = []
            while not ended.is_set():
                sent.append(f"m-{sender}-{len(sent)}")
                await post(relay, sent[-1])
            return sent

        senders = [asyncio.create_task(send(number)) for number in range(4)]
        for number in range(20):
            audit = file_sink(tmp_path, "audit", concurrency=number + 1)
            await relay.app.reload(changed(tmp_path, sinks={"audit": audit}))
        ended.set()
        sent = [meeting for each in await asyncio.gather(*senders) for meeting in each]
        await relay.drained()
    assert len(sent) > 20
    assert sorted(meetings(tmp_path, "audit")) == sorted(sent)


async def test_sinks_of_one_channel_keep_to_the_slowest_of_their_rates_also_after_a_reload(tmp_path: Path) -> None:
    def channel(*rates: str) -> dict[str, Any]:
        url = "https://hooks.slack.example/services/T/B/X"
        return {f"slack-{at}": {"type": "slack", "webhook_url": url, "rate": rate} for at, rate in enumerate(rates)}

    async with relay_running(tmp_path, sinks=channel("1/s", "30/m"), routes=[]) as relay:
        kept, other = (relay.app.dispatcher.lanes[f"slack-{at}"]._pace for at in range(2))
        assert kept is other
        assert kept._per_second == 0.5
        await relay.app.reload(changed(tmp_path, sinks=channel("1/s", "6/m"), routes=[]))
        assert relay.app.dispatcher.lanes["slack-0"]._pace is relay.app.dispatcher.lanes["slack-1"]._pace is kept
        assert kept._per_second == 0.1


async def test_what_a_slow_sink_has_begun_is_not_sent_again_for_a_reload(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a reload; what is cut off may have arrived."""
    monkeypatch.setattr("relay.app.DRAIN", timedelta(seconds=0.1))
    async with FakeHttp(default=Hang()) as slow:
        sink = {"type": "http", "url": slow.url, "allow_private": True}
        async with relay_running(tmp_path, sinks={"crm": sink}) as relay:
            await post(relay, "m-1")
            await slow.wait_for(1)
            other = changed(tmp_path, sinks={"crm": sink | {"concurrency": 2}})
            reloading = asyncio.create_task(relay.app.reload(other))
            await until(lambda: _is(relay.app.config.sinks["crm"].concurrency == 2), "the new concurrency")
            await asyncio.sleep(0.5)  # five times what a stop would grant
            assert len(slow.requests) == 1
            assert not reloading.done()
            slow.default = Answer()
            slow._released.set()
            await reloading
            await relay.delivered("crm", 1)
            [record] = await relay.app.store.deliveries(sink="crm")
    assert [attempt.reason for attempt in record.attempts] == ["unavailable"], "it ended by its own answer, a 500"


async def test_a_lane_that_ends_tells_nothing_more_of_its_sink(tmp_path: Path) -> None:
    async with FakeHttp(default=Answer(410)) as gone:
        sink = {"type": "http", "url": gone.url, "allow_private": True}
        async with relay_running(tmp_path, sinks={"crm": sink}) as relay:
            old = relay.app.dispatcher.lanes["crm"]
            await relay.app.reload(changed(tmp_path, sinks={"crm": sink | {"concurrency": 2}}))
            old.gate.pause(Failure(reason=Reason.GONE, detail="by the old one"))
            old._telling.tell(seated=old.seated)
            metrics = await relay.metrics()
    assert metrics['relay_sink_state{sink="crm",state="open"}'] == 1
    assert metrics['relay_sink_state{sink="crm",state="paused"}'] == 0


async def test_a_sink_that_gets_a_rate_keeps_to_it_and_tells_where(tmp_path: Path) -> None:
    seat = 'relay_sink_seat{sink="crm"}'
    limited = file_sink(tmp_path, "crm", rate="1000/s")
    told = []
    async with relay_running(tmp_path, sinks={"crm": file_sink(tmp_path, "crm")}) as relay:
        for sink in (limited, limited | {"enabled": False}, limited, file_sink(tmp_path, "crm")):
            told.append((await relay.metrics()).get(seat))
            await relay.app.reload(changed(tmp_path, sinks={"crm": sink}))
            if sink is limited:
                await post(relay, f"m-{len(told)}")
                await relay.drained()
        told.append((await relay.metrics()).get(seat))
    assert told == [None, 1, None, 1, None], "a file's one relay has all of them"


async def test_a_place_keeps_its_seat_and_its_pace(tmp_path: Path) -> None:
    """All lanes of a place share one of each: those that are changed and those that are not."""
    given = {name: file_sink(tmp_path, name, rate="9/s") for name in ("same", "other")}
    async with relay_running(tmp_path, sinks=given) as relay:
        before = dict(relay.app.dispatcher.lanes)
        await relay.app.reload(changed(tmp_path, sinks=given | {"other": file_sink(tmp_path, "other", rate="8/s")}))
        after = relay.app.dispatcher.lanes
        assert after["other"] is not before["other"]
        assert (after["other"].seat, after["other"]._pace) == (before["other"].seat, before["other"]._pace)
        assert relay.app._assembly._seats["same"] is before["same"].seat
