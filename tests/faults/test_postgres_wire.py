"""One node is cut off from the database, or stands still: the other one goes on, and takes over what it had begun."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests import postgres
from tests.crash.frozen import EVENTS, freeze_once
from tests.crash.history import problems
from tests.crash.stored import PostgresBook
from tests.fakes.wire import Fault, HalfOpen, Hanging, Refused, Whole, Wire
from tests.faults.cluster import CONCURRENCY, SINKS, cluster

pytestmark = pytest.mark.real_limits

INTERRUPTED = 2 * 2 * CONCURRENCY
WIDE = 24
"""Slots of a lane that claims ahead."""


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with postgres.database() as made:
        yield made


@pytest.fixture
async def wire(url: str) -> AsyncIterator[Wire]:
    async with Wire(urlsplit(url).port or 5432) as made:
        yield made


def _through(wire: Wire, url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{wire.address}"))


@pytest.mark.parametrize("fault", [Hanging(), Refused(), HalfOpen()], ids=repr)
async def test_a_node_that_is_cut_off_is_taken_over(tmp_path: Path, url: str, wire: Wire, fault: Fault) -> None:
    async with cluster(tmp_path, url, nodes={"one": None, "cut": _through(wire, url)}) as here:
        await here.acknowledged(40)
        for service in here.services.values():
            service.open.clear()
        here.post_at("cut")  # so that it has something to begin
        await here.acknowledged(40)
        await wire.switch(fault)
        await here.refused(4)
        await here.is_ready("cut", status=503)
        here.post_at("one")
        for service in here.services.values():
            service.open.set()
        await here.acknowledged(40)
        here.tell("taken over", await here.drained())
        await wire.switch(Whole())
        here.post_at("cut")
        here.tell("back", await here.acknowledged(20))
        await here.drained()
        assert await here.problems(interrupted=INTERRUPTED) == []
        for name in here.nodes:
            assert await here.answered_in_time(name)


async def test_a_node_that_is_cut_off_begins_nothing_that_others_have_taken_over(
    tmp_path: Path, url: str, wire: Wire
) -> None:
    """A lane with many slots claims ahead; what waits in it when the others take over is theirs."""
    async with cluster(tmp_path, url, nodes={}, busy=False) as here:
        wide = here.sinks(concurrency=WIDE)
        held = [service.hold() for service in here.services.values()]
        async with here.node("cut", store=_through(wire, url), sinks=wide):
            here.post_at("cut")
            await here.acknowledged(4 * WIDE)
            for sink in SINKS:
                await here.arrived(sink, WIDE)
            here.senders.pause()
            await wire.switch(Hanging())
            for service in here.services.values():
                service.go_on()
            async with here.node("other", sinks=wide):
                here.tell("taken over", await here.drained())
                for each in held:
                    each.set()
                await wire.switch(Whole())
                here.post_at("cut")
                await here.acknowledged(20)
                await here.drained()
        assert await here.problems(interrupted=WIDE) == []


async def test_a_node_that_stood_still_while_others_took_its_work_undoes_nothing(tmp_path: Path, url: str) -> None:
    thawed = await freeze_once(tmp_path, seed=1, book=PostgresBook(url))
    assert problems(thawed.history, under_way={"http": EVENTS}) == []
    assert thawed.fenced == EVENTS


async def test_the_frost_finds_a_store_without_the_fence(tmp_path: Path, url: str) -> None:
    thawed = await freeze_once(tmp_path, seed=1, book=PostgresBook(url), broken="no_fence")
    assert any(
        "dead, though the sink has taken it" in problem
        for problem in problems(thawed.history, under_way={"http": EVENTS})
    )
