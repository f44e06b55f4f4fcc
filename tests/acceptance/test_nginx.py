"""config/scaled/nginx.conf with a real nginx: what befalls one relay costs the sender none of its attempts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Self

import orjson
import pytest
from aiohttp import ClientSession, web
from multidict import CIMultiDict

from relay.stores import open_store
from tests.acceptance.process import serving
from tests.contract import postgres
from tests.debian import NoProgram
from tests.fakes.http import Answer, FakeHttp, Hang, Reset
from tests.nginx import NGINX, nginx
from tests.ports import free_port
from tests.running import Answered, Relay, Sender, payload, relay_running, sender, signed, until
from tests.standstill import Standstill

BODY = orjson.dumps(payload())
WELL, BUSY = Answer(status=200), Answer(status=503, headers={"retry-after": "2"})


@pytest.fixture(scope="session")
def program() -> Path:
    try:
        return NGINX.find()
    except NoProgram as error:
        if os.environ.get("CI"):
            pytest.fail(f"where CI is set, the tests need it: {error}", pytrace=False)
        pytest.skip(str(error))


@asynccontextmanager
async def in_front_of(program: Path, folder: Path, *relays: str) -> AsyncIterator[Sender]:
    """Posts at nginx, behind which these are; nobody is at home where one of three is missing."""
    missing = [f"127.0.0.1:{free_port()}" for _ in range(3 - len(relays))]
    (folder / "nginx").mkdir()
    with nginx(program, folder / "nginx", [*relays, *missing]) as url:
        async with sender(url) as posting:
            yield posting


@asynccontextmanager
async def three(program: Path, folder: Path) -> AsyncIterator[tuple[Sender, Sequence[FakeHttp]]]:
    """nginx in front of three services that stand for relays."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeHttp(default=WELL)) for _ in range(3)]
        front = in_front_of(program, folder, *(f"127.0.0.1:{fake.port}" for fake in fakes))
        yield await stack.enter_async_context(front), fakes


async def burst(posting: Sender, count: int) -> list[int]:
    """The answers to so many webhooks, one after the other: so that each relay gets its share."""
    return [(await posting.post(BODY)).status for _ in range(count)]


async def test_a_relay_that_is_killed_under_load_costs_no_webhook(program: Path, tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("stays", "killed")]
    for folder in folders:
        folder.mkdir()
    async with relay_running(folders[0]) as stays, serving(folders[1]) as killed:
        async with in_front_of(program, tmp_path, str(stays.app.gateway_address), str(killed.gateway)) as posting:
            before = [await posting.post(payload(number=number)) for number in range(10)]
            under_way = [asyncio.create_task(posting.post(payload(number=number))) for number in range(10, 40)]
            await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            killed.process.kill()
            await killed.process.wait()
            answers = before + list(await asyncio.gather(*under_way))
            answers += [await posting.post(payload(number=number)) for number in range(40, 50)]
        held = {event.event.id for event in await stays.app.store.events(limit=100)}
        lost = await open_store(f"sqlite:///{folders[1]}/relay.db")
        held_by_killed = {event.event.id for event in await lost.events(limit=100)}
        await lost.close()
    assert [answer.status for answer in answers] == [200] * 50
    acknowledged = {answer.json["id"] for answer in answers}
    assert len(acknowledged) == 50
    assert acknowledged <= held | held_by_killed
    assert acknowledged & held_by_killed, "it had its share of the webhooks"


async def test_a_rolling_deployment_costs_no_webhook(program: Path, tmp_path: Path) -> None:
    store = await postgres.database_of(tmp_path)
    places = [f"127.0.0.1:{free_port()}" for _ in range(3)]

    @asynccontextmanager
    async def node(number: int) -> AsyncIterator[Relay]:
        folder = tmp_path / f"node-{number}"
        folder.mkdir(exist_ok=True)
        async with relay_running(folder, store=store, gateway={"listen": places[number]}) as relay:
            yield relay

    async with AsyncExitStack() as stack:
        nodes = [AsyncExitStack() for _ in places]
        last: Relay
        for number, each in enumerate(nodes):
            await stack.enter_async_context(each)
            last = await each.enter_async_context(node(number))
        posting = await stack.enter_async_context(in_front_of(program, tmp_path, *places))
        webhooks = await stack.enter_async_context(Stream(posting))
        for number, each in enumerate(nodes):
            await webhooks.more(15)
            await each.aclose()
            await webhooks.more(15)
            last = await each.enter_async_context(node(number))
        await webhooks.end()
        assert {answer.status for answer in webhooks.answers} == {200}
        assert {answer.json["status"] for answer in webhooks.answers} <= {"accepted", "duplicate"}
        await last.drained()
        totals = await last.totals()
    assert totals["routed"] == totals["delivered"] == len(webhooks.answers) >= 90


class Stream:
    """Webhooks that come one after the other all the time, from several connections."""

    def __init__(self, posting: Sender) -> None:
        self.answers: list[Answered] = []
        self._posting = posting
        self._numbers = count()
        self._ended = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._post()) for _ in range(4)]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def more(self, number: int) -> None:
        """Return when so many more are answered."""
        wanted = len(self.answers) + number

        async def enough() -> bool:
            return len(self.answers) >= wanted

        await until(enough, f"{number} more answers")

    async def end(self) -> None:
        """Post no more, and hear of the last ones."""
        self._ended = True
        await asyncio.gather(*self._tasks)

    async def _post(self) -> None:
        while not self._ended:
            self.answers.append(await self._posting.post(payload(number=next(self._numbers))))
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("trouble", [BUSY, Hang(), Reset()], ids=["busy", "frozen", "breaks off"])
async def test_what_one_relay_cannot_answer_another_does(
    program: Path, tmp_path: Path, trouble: Answer | Hang | Reset
) -> None:
    async with three(program, tmp_path) as (posting, fakes):
        fakes[0].default = trouble
        answers = await asyncio.gather(*(posting.post(BODY) for _ in range(9)))
        assert [answer.status for answer in answers] == [200] * 9
        assert fakes[0].requests
        asked = len(fakes[0].requests)
        await burst(posting, 30)
        assert len(fakes[0].requests) - asked <= 5, "it is left alone for a while, where ten would be its share"


async def test_what_was_stored_and_not_answered_is_a_duplicate_at_the_next_relay(program: Path, tmp_path: Path) -> None:
    async with relay_running(tmp_path) as relay, ClientSession() as session:

        async def take(request: web.Request) -> web.Response:
            headers = {name: text for name, text in request.headers.items() if name.lower().startswith("dyte-")}
            async with session.post(relay.base + request.path, data=await request.read(), headers=headers) as stored:
                assert stored.status == 200
            assert request.transport is not None
            request.transport.abort()
            return web.Response()

        application = web.Application()
        application.router.add_post("/{path:.*}", take)
        runner = web.AppRunner(application, shutdown_timeout=0.5)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        dies = f"127.0.0.1:{runner.addresses[0][1]}"
        async with in_front_of(program, tmp_path, dies, str(relay.app.gateway_address)) as posting:
            answers = [await posting.post(payload(number=number)) for number in range(6)]
        await runner.cleanup()
        assert {answer.status for answer in answers} == {200}
        assert {answer.json["status"] for answer in answers} == {"accepted", "duplicate"}
        assert (await relay.totals())["routed"] == 6


async def test_when_all_relays_refuse_nginx_asks_them_all_the_same(program: Path, tmp_path: Path) -> None:
    async with three(program, tmp_path) as (posting, fakes):
        for fake in fakes:
            fake.default = BUSY
        refused = await posting.post(BODY)
        assert (refused.status, refused.headers["retry-after"]) == (503, "2")
        assert await burst(posting, 12) == [503] * 12
        for fake in fakes:
            fake.default = WELL
        assert await burst(posting, 6) == [200] * 6


async def test_when_all_relays_stand_still_the_sender_still_hears_that_it_is_our_fault(
    program: Path, tmp_path: Path
) -> None:
    async with three(program, tmp_path) as (posting, fakes):
        for fake in fakes:
            fake.default = Hang()
        with Standstill() as standstill:
            answer = await posting.post(BODY)
        assert answer.status == 504
        asked = sum(len(fake.requests) for fake in fakes)
        assert asked == 2 or standstill.excuses, "two attempts of 1.2 s; a third would come too late"


async def test_headers_and_body_go_on_as_they_came(program: Path, tmp_path: Path) -> None:
    headers = CIMultiDict(
        [
            ("dyte-signature", "a"),
            ("dyte-signature", "b"),
            ("rtk-uuid", "u"),
            ("rtk_new", "n"),
            ("content-encoding", "x"),
        ]
    )
    async with three(program, tmp_path) as (posting, fakes):
        await posting.post(b"\x00\xff{ }", headers=headers)
        [request] = [request for fake in fakes for request in fake.requests]
        assert request.body == b"\x00\xff{ }"
        for name in headers:
            assert request.headers.getall(name) == headers.getall(name)


async def test_it_is_the_relay_that_refuses(program: Path, tmp_path: Path) -> None:
    async with (
        relay_running(tmp_path, gateway={"listen": "127.0.0.1:0", "max_body": "2KiB"}) as relay,
        in_front_of(program, tmp_path, str(relay.app.gateway_address)) as posting,
    ):
        twice = CIMultiDict([*signed(BODY).items(), ("dyte-signature", "again")])
        assert (await posting.post(BODY, headers=twice)).status == 401
        assert (await posting.post(BODY + b" " * 2048)).status == 413
        metrics = await relay.metrics()
    assert metrics['relay_requests_total{outcome="unsigned",source="dyte"}'] == 1
    assert metrics['relay_requests_total{outcome="too_large",source="dyte"}'] == 1


@pytest.mark.parametrize("path", ["/metrics", "/api/events", "/livez", "/readyz", "/", "/webhooks/../metrics"])
async def test_nothing_but_webhooks_is_public(program: Path, tmp_path: Path, path: str) -> None:
    async with three(program, tmp_path) as (posting, fakes):
        assert (await posting.request("GET", path)).status == 404
        assert not any(fake.requests for fake in fakes)
