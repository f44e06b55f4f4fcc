"""The public keys of a source: fetched, cached on disk, rotated; time is moved, not waited for."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
import orjson
import pytest

from relay import keyring
from relay.keyring import FetchedKeys, PinnedKeys, fetch_document
from relay.publickey import PublicKey
from tests.fakes.clock import FakeClock
from tests.fakes.gateway import ScriptedIntake, gateway_running
from tests.fakes.http import WAIT, Answer, Endless, FakeHttp, Hang, Reset, SlowBody, Step
from tests.fakes.keys import SHAPES, FakeKeyServer, key_pair, other_kind_pem, weak_pem
from tests.running import payload, relay_running

FIRST, SECOND, THIRD = (PublicKey.read(key_pair(name).public_pem) for name in ("first", "second", "third"))
Make = Callable[..., FetchedKeys]


class Told:
    """An `Observer` that remembers."""

    def __init__(self) -> None:
        self.results: list[str] = []
        self.details: list[str] = []

    def key_fetched(self, source: str, result: str, detail: str = "") -> None:
        assert source == "dyte"
        self.results.append(result)
        self.details.append(detail)


@pytest.fixture
async def server() -> AsyncIterator[FakeKeyServer]:
    async with FakeKeyServer(key_pair("first")) as running:
        yield running


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def make(server: FakeKeyServer, clock: FakeClock, told: Told, tmp_path: Path) -> AsyncIterator[Make]:
    async with aiohttp.ClientSession(trust_env=False) as session:

        def made(*, url: str | None = None, cache: Path | None = None) -> FetchedKeys:
            return FetchedKeys(
                "dyte",
                url=url or server.key_url,
                cache=cache or tmp_path / "keys" / "dyte.json",
                fetch=lambda address: fetch_document(session, address),
                clock=clock,
                observer=told,
            )

        yield made


# What is read


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_key_is_found_in_any_likely_document(server: FakeKeyServer, make: Make, shape: str) -> None:
    server.serve(SHAPES[shape](key_pair("first").public_pem))
    keys = make()
    assert keys.current() == ()
    assert await keys.refresh() is True
    assert list(keys.current()) == [FIRST]
    assert server.requests[0].path == "/.well-known/webhooks.json"


BOMB = gzip.compress(b" " * 50_000_000)


@pytest.mark.parametrize(
    ("step", "result"),
    [
        (Answer(500), "unreachable"),
        (Answer(404, b"nothing here"), "unreachable"),
        (Answer(302, headers={"location": "/elsewhere"}), "unreachable"),
        (Answer(204), "unreachable"),
        (Hang(), "unreachable"),
        (SlowBody(), "unreachable"),
        (Endless(), "invalid"),
        (Answer(200, b"x" * 70_000), "invalid"),
        (Answer(200, BOMB, {"content-encoding": "gzip"}), "invalid"),
        (Answer(200, b"no gzip", {"content-encoding": "gzip"}), "unreachable"),
        (Answer(200, b""), "invalid"),
        (Answer(200, b"\xff\xfe garbage"), "invalid"),
        (Answer(200, b"[" * 60_000), "invalid"),
        (Answer(200, b'{"data": {}}'), "invalid"),
        (Answer(200, b'{"data": {"publicKey": 7}}'), "invalid"),
        (Answer(200, weak_pem().encode()), "invalid"),
        (Answer(200, other_kind_pem().encode()), "invalid"),
    ],
    ids=["500", "404", "redirect", "204", "hang", "slow body", "endless", "too large", "gzip bomb", "bad gzip",
         "empty", "garbage", "deep", "no key", "number", "1024 bits", "no RSA"],
)  # fmt: skip
async def test_what_is_no_good_key_is_refused_and_the_old_one_stays(
    server: FakeKeyServer,
    make: Make,
    clock: FakeClock,
    told: Told,
    step: Step,
    result: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keys = make()
    await keys.refresh()
    clock.advance(minutes=2)
    server.will(step)
    with monkeypatch.context() as hasty:
        if isinstance(step, Hang | SlowBody):
            hasty.setattr("relay.keyring.FETCH_TIMEOUT", 0.2)
        assert await keys.refresh() is False
    assert list(keys.current()) == [FIRST]
    assert not keys.fresh()
    assert told.results == ["ok", result]
    assert server.fetches == 2, "a redirect was followed"
    clock.advance(minutes=2)
    assert await keys.refresh() is True
    assert keys.fresh()


async def test_a_connection_that_breaks(server: FakeKeyServer, make: Make, told: Told) -> None:
    server.will(Reset(), Reset())
    assert await make().refresh() is False
    assert told.results == ["unreachable"]


async def test_nothing_listens(make: Make, told: Told) -> None:
    async with FakeHttp() as gone:
        url = gone.url
    keys = make(url=url)
    assert await keys.refresh() is False
    assert told.results == ["unreachable"]


# On disk


async def test_a_restart_needs_no_network(server: FakeKeyServer, make: Make, clock: FakeClock) -> None:
    before = make()
    await before.refresh()
    await server.stop()
    after = make()
    assert list(after.current()) == [FIRST]
    assert after.fresh()
    assert after.age() == timedelta(0)
    clock.advance(days=300)
    assert list(make().current()) == [FIRST], "it serves for ever"
    assert not make().fresh()


async def test_a_cache_of_another_url_counts_for_nothing(server: FakeKeyServer, make: Make) -> None:
    await make().refresh()
    assert make(url=server.url + "/other").current() == ()


def naive(cached: bytes) -> bytes:
    document = orjson.loads(cached)
    return orjson.dumps(document | {"fetched_at": "2026-01-01T00:00:00"})


def weak(cached: bytes) -> bytes:
    return orjson.dumps(orjson.loads(cached) | {"current": weak_pem()})


@pytest.mark.parametrize(
    "spoil",
    [lambda _: b"", lambda cached: cached[:50], lambda _: b"\xff", lambda _: b"[]", naive, weak],
    ids=["empty", "cut", "no text", "another shape", "no time zone", "weak key"],
)
async def test_a_corrupt_cache_is_ignored_with_a_word(
    make: Make, told: Told, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    await make().refresh()
    cache = tmp_path / "keys" / "dyte.json"
    cache.write_bytes(spoil(cache.read_bytes()))
    keys = make()
    assert keys.current() == ()
    assert not keys.fresh()
    assert told.results == ["ok", "invalid"]
    assert "cached key" in told.details[-1]
    assert await keys.refresh()
    assert list(make().current()) == [FIRST], "it is mended by the next fetch"


async def test_a_cache_that_cannot_be_written_costs_nothing_but_a_word(make: Make, told: Told, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    keys = make(cache=tmp_path / "file" / "dyte.json")
    assert await keys.refresh() is True
    assert list(keys.current()) == [FIRST]
    assert told.results == ["ok"], "one fetch is one fetch"
    assert "not cached" in told.details[0]


async def test_a_cache_that_is_a_folder_is_ignored(make: Make, tmp_path: Path) -> None:
    cache = tmp_path / "keys" / "dyte.json"
    cache.mkdir(parents=True)
    keys = make()
    assert await keys.refresh() is True
    assert list(keys.current()) == [FIRST]


# Rotation


async def test_a_replaced_key_counts_for_a_day(server: FakeKeyServer, make: Make, clock: FakeClock, told: Told) -> None:
    keys = make()
    await keys.refresh()
    server.rotate(key_pair("second"))
    clock.advance(hours=1)
    await keys.refresh()
    assert list(keys.current()) == [SECOND, FIRST]
    assert told.results == ["ok", "changed"]
    clock.advance(hours=23)
    await keys.refresh()
    assert list(keys.current()) == [SECOND, FIRST]
    assert list(make().current()) == [SECOND, FIRST], "also after a restart"
    clock.advance(hours=1, seconds=1)
    assert list(make().current()) == [SECOND]
    assert list(keys.current()) == [SECOND]
    await keys.refresh()
    assert list(keys.current()) == [SECOND]


async def test_two_rotations_in_a_day_keep_the_last_two(server: FakeKeyServer, make: Make, clock: FakeClock) -> None:
    keys = make()
    for name in ("first", "second", "third"):
        server.rotate(key_pair(name))
        clock.advance(hours=1)
        await keys.refresh()
    assert list(keys.current()) == [THIRD, SECOND]


# How often


async def test_many_who_ask_share_one_fetch(server: FakeKeyServer, make: Make) -> None:
    keys = make()
    assert await asyncio.gather(*(keys.refresh() for _ in range(200))) == [True] * 200
    assert server.fetches == 1


async def test_there_is_at_most_one_fetch_a_minute(server: FakeKeyServer, make: Make, clock: FakeClock) -> None:
    keys = make()
    server.will(Answer(500))
    answers = []
    for _ in range(12):
        answers.append(await keys.refresh())
        clock.advance(seconds=20)
    assert server.fetches == 4
    assert answers == [False] * 3 + [True] * 9


async def test_a_clock_that_jumps_back_makes_no_key_fresh_for_ever(
    server: FakeKeyServer, make: Make, clock: FakeClock
) -> None:
    keys = make()
    await keys.refresh()
    clock.advance(hours=-5)
    assert not keys.fresh()
    await keys.refresh()
    assert server.fetches == 2


async def test_who_gives_up_waiting_does_not_end_the_fetch(server: FakeKeyServer, make: Make) -> None:
    keys = make()
    impatient = asyncio.create_task(keys.refresh())
    await server.wait_for(1)
    impatient.cancel()
    with suppress(asyncio.CancelledError):
        await impatient
    assert await keys.refresh() is True
    assert server.fetches == 1


@asynccontextmanager
async def run(keys: FetchedKeys) -> AsyncIterator[None]:
    task = asyncio.create_task(keys.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_the_key_is_fetched_at_the_start_and_again_and_again(
    server: FakeKeyServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.keyring.REFRESH_EVERY", timedelta(milliseconds=1))
    async with run(make()):
        await server.wait_for(5)


async def test_without_a_key_it_is_asked_for_soon_again(
    server: FakeKeyServer, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("relay.keyring._RETRY_WITHOUT_KEY", 0.01)
    keys = make()
    server.will(Answer(500), Answer(500), Answer(500))
    async with run(keys):
        await server.wait_for(4)
        async with asyncio.timeout(WAIT):
            while not keys.current():
                await keys.refresh()
    assert list(keys.current()) == [FIRST]


async def test_the_end_comes_at_once_also_during_a_fetch(server: FakeKeyServer, make: Make) -> None:
    server.will(Hang())
    async with asyncio.timeout(WAIT), run(make()):
        await server.wait_for(1)


def test_the_hourly_refresh_is_hourly() -> None:
    assert timedelta(hours=1) == keyring.REFRESH_EVERY
    assert timedelta(seconds=60) == keyring.MIN_INTERVAL


# Behind the gateway


async def test_a_flood_of_forged_signatures_is_one_fetch(server: FakeKeyServer, make: Make, clock: FakeClock) -> None:
    keys = make()
    await keys.refresh()
    clock.advance(minutes=5)
    async with gateway_running(ScriptedIntake(), keys=keys) as gateway:
        answers = await asyncio.gather(*(gateway.post(key=key_pair("stranger")) for _ in range(200)))
    assert {answer.status for answer in answers} == {401}
    assert server.fetches == 2


async def test_the_first_event_after_a_rotation_is_accepted(
    server: FakeKeyServer, make: Make, clock: FakeClock
) -> None:
    keys = make()
    await keys.refresh()
    clock.advance(minutes=5)
    server.rotate(key_pair("second"))
    intake = ScriptedIntake()
    async with gateway_running(intake, keys=keys) as gateway:
        new = await gateway.post(key=key_pair("second"))
        old = await gateway.post(key=key_pair("first"))
    assert (new.status, old.status, server.fetches) == (200, 200, 2)


async def test_a_rotation_while_the_key_server_is_down_is_503_and_then_200(
    server: FakeKeyServer, make: Make, clock: FakeClock
) -> None:
    keys = make()
    await keys.refresh()
    clock.advance(minutes=5)
    await server.stop()
    async with gateway_running(ScriptedIntake(), keys=keys) as gateway:
        down = [await gateway.post(key=key_pair("second")) for _ in range(2)]
        still_old = await gateway.post(key=key_pair("first"))
        await server.start()
        server.rotate(key_pair("second"))
        clock.advance(minutes=1)
        up = await gateway.post(key=key_pair("second"))
    assert [answer.status for answer in down] == [503, 503]
    assert (still_old.status, up.status) == (200, 200)


async def test_pinned_keys_are_never_fetched(server: FakeKeyServer, tmp_path: Path) -> None:
    pinned = [key_pair("first").public_pem, key_pair("second").public_pem]
    sources = {"dyte": {"public_key": pinned, "public_key_url": server.key_url}}
    async with relay_running(tmp_path, sources=sources) as relay:
        posted = [await relay.post(payload(meeting=name), key=key_pair(name)) for name in ("first", "second", "third")]
        ready = await relay.admin("/readyz")
    assert [answer.status for answer in posted] == [200, 200, 401]
    assert ready.status == 200
    assert server.fetches == 0


async def test_pinned_keys_have_no_age() -> None:
    keys = PinnedKeys([FIRST])
    assert (keys.fresh(), await keys.refresh(), keys.age()) == (True, True, None)


@pytest.mark.parametrize("host", ["keys..example.com", "a" * 70 + ".example", ".com"])
async def test_a_host_that_can_be_no_name_is_unreachable_and_ends_nothing(make: Make, told: Told, host: str) -> None:
    keys = make(url=f"https://{host}/k")
    assert await keys.refresh() is False
    assert told.results == ["unreachable"]


async def test_who_waits_for_a_fetch_that_is_called_off_is_told_that_there_is_none(make: Make) -> None:
    async with FakeHttp(default=Hang()) as silent:
        keys = make(url=f"{silent.url}/key")
        waiting = asyncio.create_task(keys.refresh())
        await silent.wait_for(1)
        assert keys._flight is not None
        keys._flight.cancel()
        assert await waiting is False
