"""`relay simulate`: what its options do, and what it says when nothing is there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.simulator import SCENARIOS, SimulatorKey
from tests.fakes.http import Answer, FakeHttp
from tests.running import Relay, relay_running


async def simulate(*arguments: str) -> Result:
    """Run the command in a thread, as it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, main, ["simulate", *arguments])


class Posting:
    """The command, posting at a relay that trusts its key."""

    def __init__(self, relay: Relay, key: Path) -> None:
        self.relay = relay
        self._key = key

    async def __call__(self, *arguments: str) -> Any:
        url = f"{self.relay.base}/webhooks/dyte"
        result = await simulate("--url", url, "--key", str(self._key), "--json", *arguments)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)


@pytest.fixture
async def posting(tmp_path: Path) -> AsyncIterator[Posting]:
    key = SimulatorKey.load_or_create(tmp_path / "key")
    async with relay_running(tmp_path, sources={"dyte": {"public_key": key.public_pem}}) as relay:
        yield Posting(relay, tmp_path / "key")


async def test_the_same_seed_is_known_already(posting: Posting) -> None:
    first = await posting("--seed", "a")
    assert first["outcomes"] == {"accepted": first["posted"]}
    assert (await posting("--seed", "a"))["outcomes"] == {"duplicate": first["posted"]}
    assert "duplicate" not in (await posting("--seed", "b"))["outcomes"]


async def test_without_a_seed_it_is_always_new_and_tells_the_seed(posting: Posting) -> None:
    first, second = await posting(), await posting()
    assert first["seed"] != second["seed"]
    assert set(first["outcomes"]) == set(second["outcomes"]) == {"accepted"}


async def test_duplicates_and_disorder(posting: Posting) -> None:
    sent = await posting("--seed", "a", "--duplicates", "1", "--disorder", "0.5", "--meetings", "2")
    assert sent["outcomes"]["accepted"] == sent["outcomes"]["duplicate"] == sent["posted"] / 2


async def test_the_rate_is_kept(posting: Posting) -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    sent = await posting("--seed", "a", "--participants", "1", "--rate", "50")
    assert loop.time() - started >= (sent["posted"] - 1) / 50


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
async def test_every_scenario_is_taken(posting: Posting, scenario: str) -> None:
    sent = await posting("--scenario", scenario, "--provider", "realtimekit", "--participants", "1")
    assert set(sent["outcomes"]) <= {"accepted", "duplicate"}
    assert sent["milliseconds"]["p50"] <= sent["milliseconds"]["max"]


async def test_people_see_counts_times_and_the_seed(posting: Posting, tmp_path: Path) -> None:
    url = f"{posting.relay.base}/webhooks/dyte"
    result = await simulate("--url", url, "--key", str(tmp_path / "key"), "--seed", "[red]s[/nope]")
    assert result.exit_code == 0
    counts, times, seed = result.stdout.splitlines()
    assert counts.endswith(" accepted")
    assert times.startswith("answers: p50 ")
    assert seed == "seed [red]s[/nope]"
    assert result.stderr == ""


async def test_where_nothing_is_taken_it_says_so_soon(tmp_path: Path) -> None:
    async with FakeHttp() as gone:
        url = gone.url
    result = await simulate("--url", url, "--key", str(tmp_path), "--retries", "0", "--concurrency", "1")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0] == "      1 no answer"
    assert "answers:" not in result.stdout
    assert result.stderr.splitlines() == [
        "The rest was not posted: nothing was taken.",
        f"Nothing answers at {url}; is `relay serve` running?",
    ]


async def test_another_server_is_not_taken_for_a_relay(tmp_path: Path) -> None:
    page = Answer(404, b"<html>", {"content-type": "text/html"})
    async with FakeHttp(default=page) as other:
        result = await simulate("--url", other.url, "--key", str(tmp_path))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[0].endswith(" 404")
    assert result.stderr == "The relay has no source with this path.\n"


@pytest.mark.parametrize("url", ["nope", "ftp://127.0.0.1/x", "http://", "http://127.0.0.1:99999/x", "http://[::1"])
async def test_no_address_is_wrong_use(tmp_path: Path, url: str) -> None:
    result = await simulate("--url", url, "--key", str(tmp_path / "key"))
    assert result.exit_code == 2
    assert "write an address such as" in result.stderr


async def test_a_key_that_cannot_be_had(tmp_path: Path) -> None:
    (tmp_path / "key").mkdir()
    (tmp_path / "key" / "private.pem").write_text("nonsense")
    result = await simulate("--key", str(tmp_path / "key"), "--print-key")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")
    assert (tmp_path / "key" / "private.pem").read_text() == "nonsense"
