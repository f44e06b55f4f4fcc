"""The private side: liveness, readiness, metrics."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from relay.app import App
from relay.telemetry import CONTENT_TYPE
from tests.fakes.http import Answer, FakeHttp, Hang
from tests.fakes.keys import FakeKeyServer
from tests.running import relay_running, until


async def test_a_relay_with_all_it_needs_is_ready(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        live, ready = await relay.admin("/livez"), await relay.admin("/readyz")
    assert (live.status, live.json) == (200, {"alive": True})
    assert ready.status == 200
    names = ("store", "key dyte", "sink audit", "config")
    assert ready.json == {"ready": True, "checks": dict.fromkeys(names, "ok")}


async def test_without_a_key_it_starts_and_is_not_ready_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.keyring._RETRY_WITHOUT_KEY", 0.02)
    async with FakeKeyServer() as server:
        await server.stop()
        sources = {"dyte": {"public_key_url": server.key_url}}
        async with relay_running(tmp_path, sources=sources) as relay:
            ready, live = await relay.admin("/readyz"), await relay.admin("/livez")
            refused = await relay.post()
            await server.start()

            async def is_ready() -> bool:
                return (await relay.admin("/readyz")).status == 200

            await until(is_ready, "readiness")
            accepted = await relay.post()
            metrics = await relay.metrics()
    assert (ready.status, live.status) == (503, 200)
    assert ready.json["checks"]["key dyte"] == "not fetched yet: webhooks get 503"
    assert (refused.status, refused.json, refused.headers["retry-after"]) == (503, {"status": "no_key"}, "2")
    assert accepted.status == 200
    assert metrics['relay_key_fetch_total{result="ok",source="dyte"}'] == 1
    assert metrics['relay_key_fetch_total{result="unreachable",source="dyte"}'] >= 1
    assert 0 <= metrics.get('relay_key_age_seconds{source="dyte"}', -1) < 60


async def test_after_a_restart_it_is_ready_without_the_network(tmp_path: Path) -> None:
    async with FakeKeyServer() as server:
        sources = {"dyte": {"public_key_url": server.key_url}}
        async with relay_running(tmp_path, sources=sources) as relay:
            await server.wait_for(1)

            async def is_ready() -> bool:
                return (await relay.admin("/readyz")).status == 200

            await until(is_ready, "readiness")
        await server.stop()
        async with relay_running(tmp_path, sources=sources) as relay:
            assert (await relay.admin("/readyz")).status == 200
            assert (await relay.post()).status == 200


async def test_a_sink_in_trouble_is_told_and_is_no_reason_to_refuse_events(tmp_path: Path) -> None:
    async with FakeHttp(default=Answer(410)) as gone:
        sinks = {
            "crm": {"type": "http", "url": gone.url, "allow_private": True},
            "off": {"type": "file", "path": str(tmp_path / "off"), "enabled": False},
        }
        async with relay_running(tmp_path, sinks=sinks) as relay:
            await relay.post()
            await gone.wait_for(1)

            async def is_paused() -> bool:
                checks = (await relay.admin("/readyz")).json["checks"]
                return str(checks["sink crm"]).startswith("paused: gone: the service answered 410")

            await until(is_paused, "pause")
            ready = await relay.admin("/readyz")
            metrics = await relay.metrics()
    assert (ready.status, ready.json["checks"]["sink off"]) == (200, "disabled")
    assert metrics['relay_sink_state{sink="crm",state="paused"}'] == 1
    assert metrics['relay_sink_state{sink="crm",state="open"}'] == 0
    assert metrics['relay_backlog{sink="crm"}'] == 1


async def test_while_it_stops_it_is_alive_and_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("relay.app.DRAIN", timedelta(seconds=2))
    async with FakeHttp(default=Hang()) as hanging:
        sinks = {"crm": {"type": "http", "url": hanging.url, "allow_private": True}}
        async with relay_running(tmp_path, sinks=sinks) as relay:
            await relay.post()
            await hanging.wait_for(1)
            stopping = asyncio.create_task(relay.app.stop())
            await until(lambda: _stopping(relay.app), "stop")
            live, ready = await relay.admin("/livez"), await relay.admin("/readyz")
            await hanging.stop()
            await stopping
    assert (live.status, ready.status) == (200, 503)
    assert ready.json["checks"]["relay"] == "stopping"


async def _stopping(app: App) -> bool:
    return app._stopping


async def test_the_sides_do_not_mix(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        public = [(await relay.request("GET", path)).status for path in ("/metrics", "/livez", "/readyz")]
        private = await relay.admin("/webhooks/dyte")
    assert public == [404, 404, 404]
    assert private.status == 404


async def test_metrics_survive_the_loss_of_the_stores_folder(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    async with relay_running(tmp_path, store=f"sqlite:///{folder}/relay.db") as relay:
        folder.rename(tmp_path / "elsewhere")
        answer = await relay.admin("/metrics")
        assert answer.headers["content-type"] == CONTENT_TYPE
        (tmp_path / "elsewhere").rename(folder)
    assert answer.status == 200
    assert "relay_build_info" in answer.body.decode()
