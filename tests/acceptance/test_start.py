"""What keeps `relay serve` from starting is said in words, with the right exit code, and nothing is touched."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from relay.errors import StartError
from relay.server import check_library
from tests.acceptance.process import Ended, relay, serving
from tests.fakes.http import FakeHttp, Hang
from tests.fakes.keys import PATH, FakeKeyServer
from tests.running import payload, sender, until, write_config


async def refused(folder: Path, **parts: Any) -> Ended:
    """Start with this configuration; it must end, and not by a traceback."""
    file = write_config(folder, **parts)
    ended = await relay("serve", "-c", str(file), cwd=folder)
    assert "Traceback" not in ended.err
    assert ended.out == ""
    return ended


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store: [unclosed\n", "relay.yaml:2"),
        ("sinks: {crm: {type: http}}\n", "sinks.crm.url: is missing"),
        ("admin: {token: '${RELAY_NOT_SET}'}\n", "needs `RELAY_NOT_SET`, which is not set"),
        ("gatway: {}\n", "did you mean `gateway`?"),
    ],
)
async def test_a_wrong_file_ends_with_2(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "relay.yaml").write_text(text)
    ended = await relay("serve", cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert names(tmp_path) == ["relay.yaml"]


async def test_a_missing_file_ends_with_2(tmp_path: Path) -> None:
    ended = await relay("serve", cwd=tmp_path)
    assert ended.code == 2
    assert ended.err == "relay.yaml: does not exist; name the file with -c\n"


async def test_a_store_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("mine")
    ended = await refused(tmp_path, store=f"sqlite:///{tmp_path}/plain/relay.db")
    assert ended.code == 1
    assert ended.err.startswith(f"store: cannot use {tmp_path}/plain/relay.db: ")
    assert "a part of its path is a file" in ended.err
    assert (tmp_path / "plain").read_text() == "mine"


async def test_a_store_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    ended = await refused(tmp_path, store=f"sqlite:///{tmp_path}/folder")
    assert ended.code == 1
    assert ended.err.startswith("store: cannot ")
    assert names(tmp_path / "folder") == []


async def test_a_store_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    store.write_bytes(b"this is somebody's diary, and no database\n" * 50)
    before = store.read_bytes()
    ended = await refused(tmp_path)
    assert ended.code == 1
    assert "is damaged or is no SQLite file" in ended.err
    assert store.read_bytes() == before


async def test_a_database_of_another_program_is_left_as_it_is(tmp_path: Path) -> None:
    store = tmp_path / "relay.db"
    with sqlite3.connect(store) as connection:
        connection.execute("CREATE TABLE diary (day TEXT)")
    connection.close()
    before = store.read_bytes()
    ended = await refused(tmp_path)
    assert ended.code == 1
    assert "is an SQLite file of another program" in ended.err
    assert store.read_bytes() == before
    assert names(tmp_path) == ["relay.db", "relay.yaml"]


@pytest.mark.parametrize("part", ["gateway", "admin"])
async def test_a_port_in_use(tmp_path: Path, part: str) -> None:
    async with FakeHttp() as other:
        ended = await refused(tmp_path, **{part: {"listen": f"127.0.0.1:{other.port}"}})
    assert ended.code == 1
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"{part}.listen: cannot listen on 127.0.0.1:{other.port}: the port is in use; ")


async def test_an_address_that_this_machine_has_not(tmp_path: Path) -> None:
    ended = await refused(tmp_path, gateway={"listen": "192.0.2.1:8080"})  # https://www.rfc-editor.org/rfc/rfc5737
    assert ended.code == 1
    assert ended.err.splitlines()[-1].endswith("this machine has no such address")


async def test_without_a_key_it_starts_and_says_so(tmp_path: Path) -> None:
    async with FakeHttp() as gone:
        url = gone.url + PATH
    parts: dict[str, Any] = {"sources": {"dyte": {"public_key_url": url}}}
    async with serving(tmp_path, **parts) as process, sender(f"http://{process.gateway}") as posting:
        answer = await posting.post()
        assert (answer.status, answer.json["status"]) == (503, "no_key")
        assert int(answer.headers["retry-after"]) > 0
        posting.base = f"http://{process.admin}"
        ready = await posting.request("GET", "/readyz")
        assert ready.status == 503
        assert ready.json["checks"]["key dyte"] == "not fetched yet: webhooks get 503"
        assert (await posting.request("GET", "/livez")).status == 200


async def test_a_key_that_comes_later_heals_it(tmp_path: Path) -> None:
    server = FakeKeyServer()
    await server.start()
    await server.stop()
    parts: dict[str, Any] = {"sources": {"dyte": {"public_key_url": server.key_url}}}
    async with serving(tmp_path, **parts) as process, sender(f"http://{process.gateway}") as posting:
        assert (await posting.post()).status == 503
        await server.start()
        try:

            async def taken() -> bool:
                return (await posting.post()).status == 200

            await until(taken, "accepted webhook")
        finally:
            await server.stop()


async def test_a_sink_that_never_answers_stops_nobody_else(tmp_path: Path) -> None:
    async with FakeHttp(default=Hang()) as dead:
        sinks = {
            "dead": {"type": "http", "url": dead.url, "allow_private": True},
            "audit": {"type": "file", "path": str(tmp_path / "events.jsonl")},
        }
        async with serving(tmp_path, sinks=sinks) as process, sender(f"http://{process.gateway}") as posting:
            bodies = [payload(count=number) for number in range(40)]
            answers = await asyncio.gather(*(posting.post(body) for body in bodies))
            assert {answer.status for answer in answers} == {200}
            await dead.wait_for(1)

            async def all_written() -> bool:
                file = tmp_path / "events.jsonl"
                return file.exists() and len(file.read_bytes().splitlines()) == len(bodies)

            await until(all_written, "file with all events")


async def test_without_the_parser_in_c_it_does_not_start(tmp_path: Path) -> None:
    file = await asyncio.to_thread(lambda: write_config(tmp_path))
    ended = await relay("serve", "-c", str(file), cwd=tmp_path, AIOHTTP_NO_EXTENSIONS="1")
    assert ended.code == 1
    assert "without its parser in C" in ended.err


@pytest.mark.parametrize(("version", "starts"), [("3.14.3", False), ("3.9", False), ("3.14.4", True), ("4.0a1", True)])
def test_an_old_http_library_is_refused(monkeypatch: pytest.MonkeyPatch, version: str, *, starts: bool) -> None:
    monkeypatch.setattr("aiohttp.__version__", version)
    if starts:
        check_library()
    else:
        with pytest.raises(StartError, match=r"has known holes; install 3\.14\.4 or newer"):
            check_library()
