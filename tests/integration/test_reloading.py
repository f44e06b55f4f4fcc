"""A relay that follows its configuration's files: edited, half-written, wrong, replaced as a whole, never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import relay.reloading
from relay.reloading import Reloader
from tests.running import Relay, relay_running, until, write_config


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay.reloading, "_LOOK_EVERY", 0.02)


@asynccontextmanager
async def following(folder: Path, *, watch: bool = True) -> AsyncIterator[tuple[Relay, asyncio.Event]]:
    """A relay that follows the file of `relay_running`, and how to ask it."""
    asked = asyncio.Event()
    async with relay_running(folder) as relay:
        reloader = Reloader(relay.app, folder / "relay.yaml", {}, asked=asked, watch=watch)
        task = asyncio.create_task(reloader.run())
        try:
            yield relay, asked
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def has_sinks(relay: Relay, *names: str) -> None:
    async def fits() -> bool:
        return set(relay.app.config.sinks) == set(names)

    await until(fits, f"configuration with {names}")


async def refuses(relay: Relay, words: str) -> None:
    async def refused() -> bool:
        return words in (relay.app.refusal or "")

    await until(refused, f"refusal with {words!r}")


def sink(folder: Path, name: str) -> dict[str, str]:
    return {"type": "file", "path": str(folder / f"{name}.jsonl")}


def write(folder: Path, *names: str) -> None:
    write_config(folder, sinks={name: sink(folder, name) for name in names})


async def test_an_edited_file_is_in_force_without_being_asked_for(tmp_path: Path) -> None:
    async with following(tmp_path) as (relay, _):
        write(tmp_path, "new")
        await has_sinks(relay, "new")
        assert (await relay.post()).status == 200
        await relay.delivered("new", 1)
        metrics = await relay.metrics()
    assert metrics['relay_config_reloads_total{result="applied"}'] == 1
    assert metrics["relay_config_last_reload_successful"] == 1


async def test_a_wrong_file_changes_nothing_and_says_so_until_it_is_mended(tmp_path: Path) -> None:
    async with following(tmp_path) as (relay, _):
        before = relay.app.config.hash
        (tmp_path / "relay.yaml").write_text("sinks: {crm: {type: http}}")
        await refuses(relay, "sinks.crm.url: is missing")
        assert relay.app.config.hash == before
        assert (await relay.post()).status == 200
        ready = await relay.admin("/readyz")
        assert (ready.status, "sinks.crm.url" in ready.json["checks"]["config"]) == (200, True)
        metrics = await relay.metrics()
        assert metrics['relay_config_reloads_total{result="refused"}'] == 1, "once, not at each look"
        assert metrics["relay_config_last_reload_successful"] == 0
        write(tmp_path, "new")
        await has_sinks(relay, "new")
        assert (await relay.metrics())["relay_config_last_reload_successful"] == 1


async def test_a_file_that_is_gone_for_a_moment_is_no_loss(tmp_path: Path) -> None:
    async with following(tmp_path) as (relay, _):
        (tmp_path / "relay.yaml").unlink()
        await refuses(relay, "does not exist")
        write(tmp_path, "new")
        await has_sinks(relay, "new")


async def test_a_secret_in_a_file_of_its_own_is_followed(tmp_path: Path) -> None:
    def with_secret() -> None:
        crm = {"type": "http", "url": "https://crm.invalid", "headers": {"authorization": "${file:token}"}}
        write_config(tmp_path, sinks={"crm": crm})

    (tmp_path / "token").write_text("one")
    async with following(tmp_path) as (relay, _):
        with_secret()
        await has_sinks(relay, "crm")
        before = relay.app.config.hash
        (tmp_path / "token").write_text("rotated")

        async def rotated() -> bool:
            return relay.app.config.hash != before

        await until(rotated, "new secret")


async def test_a_folder_that_is_replaced_as_a_whole_is_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: the file is a link through a link to a folder, and that is swapped."""
    for version in ("one", "two"):
        (tmp_path / version).mkdir()
        write_config(tmp_path / version, sinks={version: sink(tmp_path, version)})
    (tmp_path / "data").symlink_to("one")
    async with relay_running(tmp_path) as relay:
        file = tmp_path / "mounted.yaml"
        file.symlink_to("data/relay.yaml")
        for version in ("one", "two"):  # the store of the relay that runs is what a reload may not change
            text = (tmp_path / version / "relay.yaml").read_text()
            (tmp_path / version / "relay.yaml").write_text(
                text.replace(f"{tmp_path}/{version}/relay.db", f"{tmp_path}/relay.db")
            )
        task = asyncio.create_task(Reloader(relay.app, file, {}, asked=asyncio.Event(), watch=True).run())
        try:
            await has_sinks(relay, "one")
            (tmp_path / "data.new").symlink_to("two")
            (tmp_path / "data.new").rename(tmp_path / "data")
            await has_sinks(relay, "two")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_what_changed_between_the_start_and_the_first_look_is_not_missed(tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay:
        write(tmp_path, "early")
        reloader = Reloader(relay.app, tmp_path / "relay.yaml", {}, asked=asyncio.Event(), watch=True)
        task = asyncio.create_task(reloader.run())
        try:
            await has_sinks(relay, "early")
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_without_watching_only_asking_counts(tmp_path: Path) -> None:
    async with following(tmp_path, watch=False) as (relay, asked):
        write(tmp_path, "new")
        for _ in range(20):  # as many looks
            await asyncio.sleep(0.01)
        assert set(relay.app.config.sinks) == {"audit"}
        asked.set()
        await has_sinks(relay, "new")


async def test_an_error_of_ours_leaves_the_relay_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with following(tmp_path) as (relay, asked):

        async def broken(_config: object) -> None:
            raise RuntimeError("ours")

        with monkeypatch.context() as patch:
            patch.setattr(relay.app, "reload", broken)
            asked.set()
            await refuses(relay, "RuntimeError inside the relay")
        assert (await relay.post()).status == 200
        write(tmp_path, "new")
        await has_sinks(relay, "new")


async def test_what_check_warns_of_is_in_the_log_of_a_relay_too(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With each new file: who never runs `relay check` has the log only."""

    def warned() -> list[str]:
        return [getattr(record, "detail", "") for record in caplog.records if record.message == "config.warned"]

    async with following(tmp_path) as (relay, _):
        both = {name: sink(tmp_path, name) for name in ("used", "unused")}
        write_config(tmp_path, sinks=both, routes=[{"name": "all", "events": ["*"], "to": ["used"]}])
        await has_sinks(relay, "used", "unused")

        async def told() -> bool:
            return any("sinks.unused" in each for each in warned())

        await until(told, "warning of the sink that no route uses")
        assert all(str(tmp_path) in each for each in warned()), "each says in which file it is"


async def test_a_relay_that_starts_logs_what_check_warns_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sinks = {"unused": sink(tmp_path, "unused")}
    async with relay_running(tmp_path, sinks=sinks, routes=[]) as relay:
        reloader = Reloader(relay.app, tmp_path / "relay.yaml", {}, asked=asyncio.Event(), watch=False)
        task = asyncio.create_task(reloader.run())

        async def told() -> bool:
            return any("routes: is empty" in getattr(record, "detail", "") for record in caplog.records)

        await until(told, "warning of routes that are missing")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
