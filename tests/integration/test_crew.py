"""What a relay of several processes is made of: places that are filled again, bells, turns, a port for several."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import subprocess
import sys
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from time import monotonic

import pytest

from relay.config import Config
from relay.errors import StartError
from relay.listening import reserve
from relay.model import Acceptance, Admission, DuplicateKind, Wish
from relay.stores import open_store
from relay.stores.sqlite.turns import Turns
from relay.telemetry.sums import Snapshot
from relay.workers import crew as module
from relay.workers import place
from relay.workers.bells import DatagramBells, pair
from relay.workers.channel import Apply, Begin
from relay.workers.crew import MOST_SHORT_LIVES, SHORT_LIFE, Crew, Patience
from tests.contract.test_store_sinks import LEASE, SECOND
from tests.fakes.admissions import NOON, admission
from tests.running import until

SINK = "crm"
ROOT = Path(__file__).parents[2]


class Orders:
    """Of a supervisor that has nothing to do."""

    def __init__(self) -> None:
        self.bell, self.rings = pair()
        self.buried: list[str] = []

    def begin(self, number: int, owner: str) -> Begin:
        return Begin(
            number=number, workers=1, owner=owner, config=Config(), lanes={}, listen="127.0.0.1:0",
            bell=self.bell.fileno(), bells={}, log_style="json", log_level="info",
        )  # fmt: skip

    async def bury(self, owner: str, last: Snapshot) -> None:
        self.buried.append(owner)

    def lives(self, count: int) -> None:
        pass

    def close(self) -> None:
        self.bell.close()
        self.rings.close()


# Places


def test_a_place_is_filled_at_once_then_later_and_later_and_at_last_not_any_more() -> None:
    patience = Patience()
    waits = [patience.after(1.0) for _ in range(MOST_SHORT_LIVES)]
    assert waits == [0.0, 0.5, 1.0, 2.0, None]


def test_a_long_life_makes_good_the_short_ones() -> None:
    patience = Patience()
    for _ in range(MOST_SHORT_LIVES - 1):
        patience.after(1.0)
    assert patience.after(SHORT_LIFE) == 0.0
    assert [patience.after(1.0) for _ in range(2)] == [0.0, 0.5]


async def test_workers_that_cannot_begin_end_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    orders = Orders()
    crew = Crew(1, orders, restarted=lambda: None)
    with pytest.raises(StartError, match="worker 1 ended with exit code 1 as it began; the log may say why"):
        await crew.start()
    await crew.stop()
    assert len(orders.buried) == 1
    orders.close()


async def test_a_place_where_each_one_dies_at_once_ends_the_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.01)
    orders, restarts = Orders(), list[None]()
    crew = Crew(1, orders, restarted=lambda: restarts.append(None))
    crew.places[0].proven = True  # as if an earlier one had taken webhooks in
    starting = asyncio.create_task(crew.start())
    why = str(await crew.failed())
    assert "worker 1 died 5 times in a row within 10 s" in why
    assert (len(orders.buried), len(set(orders.buried)), len(restarts)) == (5, 5, 4)
    with pytest.raises(StartError):
        await starting
    await crew.apply(Apply(config=Config(), lanes={}))  # to nobody, and nobody is waited for
    await crew.look()
    await crew.stop()
    orders.close()


SILENT = """
import asyncio, socket, sys
from relay.workers.channel import Channel, Started

async def main():
    channel = await Channel.open(socket.socket(fileno=int(sys.argv[1])))
    channel.send(Started())
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_one_that_hangs_is_killed_and_its_place_is_filled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(channel: socket.socket, _: Begin) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", SILENT, str(channel.fileno())], pass_fds=[channel.fileno()], cwd=ROOT
        )

    monkeypatch.setattr(module, "_spawn", silent)
    monkeypatch.setattr(place, "ANSWER", 0.01)
    monkeypatch.setattr(place, "LOOK_EVERY", 0.01)
    orders, states = Orders(), list[str]()
    crew = Crew(1, orders, restarted=lambda: states.append(crew.places[0].state))
    await crew.start()

    async def restarted() -> bool:
        return len(states) == 1

    await until(restarted, "restart")
    assert states[0] == "did not answer 5 times in a row, and was killed; begun again in 0 s"
    assert len(orders.buried) == 1, "what it had begun is given back"
    monkeypatch.setattr(place, "LOOK_EVERY", 60.0)
    crew.kill()
    await crew.stop()
    orders.close()


async def test_one_that_answers_now_and_then_does_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "LOOK_EVERY", 0.0)
    looked = iter([False] * 4 + [True] + [False] * 5)
    waited = list[bool]()

    async def look() -> bool:
        waited.append(next(looked))
        return waited[-1]

    one = place.Place(1)
    monkeypatch.setattr(one, "look", look)
    await one.hangs()
    assert len(waited) == 10


# The store


async def test_what_one_who_is_gone_had_begun_is_given_back_although_others_live(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    one, two = await open_store(url, owner="one"), await open_store(url, owner="two", upkeep=False)
    for store in (one, two):
        await store.recover(now=NOON)
        await store.accept(admission(SINK))
    [of_one] = await one.claim(SINK, limit=1, now=NOON, lease=LEASE)
    [of_two] = await two.claim(SINK, limit=1, now=NOON, lease=LEASE)
    assert await two.release("one", now=NOON + SECOND) == 1
    [again] = await two.claim(SINK, limit=9, now=NOON + SECOND, lease=LEASE)
    assert (again.id, again.id == of_two.id) == (of_one.id, False)
    for store in (one, two):
        await store.close()


def test_one_who_has_just_written_stays_behind_one_who_waits(tmp_path: Path) -> None:
    assert [_turns_before_the_other(tmp_path / "relay.db") for _ in range(20)] == [0] * 20


def _turns_before_the_other(path: Path) -> int:
    """How often one who writes all the time has his turn before one who waits for it."""
    busy, other = Turns(path), Turns(path)
    done, turns, taken = threading.Event(), list[None](), list[int]()

    def wait() -> None:
        with other:
            taken.append(len(turns))
        done.set()

    thread = threading.Thread(target=wait)
    with busy:
        thread.start()
        deadline = monotonic() + 30
        while _is_free(path.with_name("relay.db-next")) and monotonic() < deadline:
            pass  # until the other one stands in the queue
    while not done.is_set():
        with busy:
            turns.append(None)
    thread.join()
    busy.close()
    other.close()
    return taken[0]


async def test_a_tool_takes_its_turn_as_workers_do(tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path}/relay.db", tmp_path / "relay.db"
    worker = await open_store(url, takes_turns=True)
    tool, turns = await open_store(url, create=False), Turns(path)
    with turns:
        wishing = asyncio.create_task(tool.wish(SINK, Wish(paused=True, at=NOON)))

        async def waits() -> bool:
            return not _is_free(path.with_name("relay.db-next"))

        await until(waits, "tool in the queue")
        assert not wishing.done()
    await wishing
    assert (await worker.wishes())[SINK].paused
    turns.close()
    await tool.close()
    await worker.close()


def _is_free(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


# Bells


async def test_a_bell_wakes_the_lane_of_another_worker(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/relay.db"
    here, there = await open_store(url), await open_store(url)
    (bell_1, rings_1), (bell_2, rings_2) = pair(), pair()
    lanes = {SINK: 2, "mine": 1}
    one, two = DatagramBells(bell_1, {2: rings_2}, lanes), DatagramBells(bell_2, {1: rings_1}, lanes)
    two.join(there)
    intake = one.join(here)
    waiting = asyncio.create_task(there.wait(SINK, timeout=30))
    await intake.accept(admission(SINK, "mine"))
    async with asyncio.timeout(30):
        await waiting
    for bells in (one, two):
        bells.close()
    for end in (bell_1, rings_1, bell_2, rings_2):
        end.close()
    for store in (here, there):
        await store.close()


class Intake:
    """Takes everything, or has it already."""

    def __init__(self, duplicate: DuplicateKind | None = None) -> None:
        self.duplicate = duplicate

    def wake(self, sink: str) -> None:
        raise AssertionError(sink)

    async def accept(self, admission: Admission) -> Acceptance:
        return Acceptance(event_id=admission.event.id, duplicate=self.duplicate)


async def test_hints_are_gathered_and_one_that_finds_no_place_is_said_again() -> None:
    own, other = pair(), pair()
    lanes = {f"sink-{number}": 2 for number in range(3)}
    bells = DatagramBells(own[0], {2: other[1]}, lanes)
    other[0].settimeout(0)
    stuffed = 0
    while _sent(other[1]):  # until the other one has more to hear than it can
        stuffed += 1
    for _ in range(100):
        for sink in lanes:
            bells.ring(sink)
    bells._ring()
    heard = [await _heard(other[0]) for _ in range(stuffed + 1)]
    assert set(heard[:-1]) == {b"x"}
    assert sorted(heard[-1].decode().split("\n")) == sorted(lanes)
    bells.close()
    for end in (*own, *other):
        end.close()


async def test_a_duplicate_rings_no_bell() -> None:
    own, other = pair(), pair()
    bells = DatagramBells(own[0], {2: other[1]}, {SINK: 2})
    intake = bells.join(Intake(DuplicateKind.UUID))  # type: ignore[arg-type]
    await intake.accept(admission(SINK))
    bells.ring("unknown")
    assert not bells.rings
    bells.close()
    for end in (*own, *other):
        end.close()


def _sent(end: socket.socket) -> bool:
    try:
        end.send(b"x")
    except BlockingIOError:
        return False
    return True


async def _heard(end: socket.socket) -> bytes:
    async with asyncio.timeout(30):
        return await asyncio.get_running_loop().sock_recv(end, 1024)


# The port


async def test_a_port_that_others_listen_on_cannot_be_reserved() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # as the workers of another relay do
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with AsyncExitStack() as stack:
            with pytest.raises(StartError, match="the port is in use; stop the other program"):
                await reserve("gateway", address, until=stack)


async def test_a_free_port_is_found_for_all(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        address = await reserve("gateway", "127.0.0.1:0", until=stack)
        for _ in range(2):
            one = socket.socket()
            stack.callback(one.close)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            one.bind((address.host, address.port))
            one.listen()
        assert address.port > 0
        with socket.create_connection((address.host, address.port)) as client:
            assert client.getpeername()[1] == address.port
