"""A relay and an HTTP service that is down, slow, cut off, throttled, moved, or not who it says it is."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from relay.model import GateState
from relay.sinks import address
from tests.fakes.authority import Authority
from tests.fakes.http import Answer, Endless, FakeHttp, SlowBody, Step
from tests.fakes.wire import (
    Cut,
    Dripping,
    Fault,
    HalfOpen,
    Hanging,
    Late,
    Refused,
    ResetAfter,
    ResetBefore,
    Wire,
)
from tests.faults.scene import arrivals, scene, storm
from tests.running import Samples


@pytest.fixture
async def service() -> AsyncIterator[FakeHttp]:
    async with FakeHttp() as running:
        yield running


@pytest.fixture
async def wire(service: FakeHttp) -> AsyncIterator[Wire]:
    async with Wire(service.port) as made:
        yield made


def http(url: str, **options: Any) -> dict[str, Any]:
    return {"type": "http", "url": url, "allow_private": True, **options}


# The way there


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        (Refused(), "connect"),
        (Hanging(), "timeout"),
        (HalfOpen(), "timeout"),
        (ResetBefore(), "reset"),
        (ResetAfter(), "reset"),
        (Dripping(), "timeout"),
        (Cut(after=9), "reset"),
    ],
    ids=repr,
)
async def test_a_fault_on_the_way(tmp_path: Path, service: FakeHttp, wire: Wire, fault: Fault, outcome: str) -> None:
    limit = "500ms" if outcome == "timeout" else "10s"
    async with scene(tmp_path, http(f"http://{wire.address}/hooks", timeout=limit)) as here:
        await here.survives(wire, fault, outcome=outcome)
        here.has_all(arrivals(service))
        times = Counter(event_id for event_id, _ in arrivals(service))
    if isinstance(fault, Refused | ResetBefore):
        assert set(times.values()) == {1}, "nothing of a failed attempt had arrived"
    if isinstance(fault, ResetAfter):
        assert max(times.values()) > 1, "an answer that was lost is asked for again, under the same id"


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_faults_in_any_order(tmp_path: Path, service: FakeHttp, wire: Wire, seed: int) -> None:
    async with scene(tmp_path, http(f"http://{wire.address}/hooks")) as here:
        await storm(here, wire, seed)
        await here.others_go_on()
        await here.recovers()
        here.has_all(arrivals(service))


async def test_a_way_that_is_slow_is_no_fault(tmp_path: Path, service: FakeHttp, wire: Wire) -> None:
    async with scene(tmp_path, http(f"http://{wire.address}/hooks", timeout="10s")) as here:
        await wire.switch(Late(0.1))
        await here.post(9)
        await here.recovers()
        here.has_all(arrivals(service))
        metrics = Samples(await here.relay.metrics())
    assert metrics['relay_attempts_total{outcome="delivered",sink="ill"}'] == 9 == len(service.requests)
    assert metrics['relay_attempt_seconds_sum{sink="ill"}'] > 9 * 0.2, "there and back"


async def test_nobody_takes_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packets vanish: a time limit of its own ends that, long before the lane's."""
    monkeypatch.setattr("relay.sinks.http.CONNECT_TIME", 0.1)
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for caller in (first, second):  # the queue is full
            caller.settimeout(0)
            caller.connect_ex(deaf.getsockname())
        async with scene(tmp_path, http(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout="30s")) as here:
            await here.post(9)
            await here.others_go_on()
            await here.is_in(GateState.BROKEN)
            await here.failed_with("connect", 5)
            await here.waits(9)


# What it answers


async def test_the_service_fails(tmp_path: Path, service: FakeHttp) -> None:
    async with scene(tmp_path, http(service.url, retry={"base": "10ms", "max_attempts": 6})) as here:
        await here.post(3)
        await here.relay.delivered("ill", 3)
        service.will(*(Answer(status) for status in (500, 502, 504))).default = Answer(503)
        await here.post(9)
        await here.others_go_on()
        await here.is_in(GateState.BROKEN)
        await here.failed_with("unavailable", 25)  # more than three events could pay for: probes burn nothing
        await here.waits(9)
        service.default = Answer()
        await here.recovers()
        here.has_all(arrivals(service))


@pytest.mark.parametrize("status", [200, 503])
async def test_the_status_decides_whatever_the_body_does(tmp_path: Path, service: FakeHttp, status: int) -> None:
    bomb = gzip.compress(b"0" * 50_000_000)
    bodies: list[Step] = [Endless(status), Answer(status, bomb, {"content-encoding": "gzip"}), SlowBody(status)]
    service.will(*bodies)
    async with scene(tmp_path, http(service.url, timeout="10s")) as here:
        await here.post(3)
        await here.others_go_on()
        await here.recovers()
        here.has_all(arrivals(service))
    assert len(service.requests) == (3 if status == 200 else 6)
    assert service.written < 8 * 1024 * 1024


@pytest.mark.parametrize("where", ["loop", "inside"])
async def test_a_redirect_is_not_followed(tmp_path: Path, service: FakeHttp, where: str) -> None:
    async with FakeHttp() as inside:
        target = f"{service.url}/elsewhere" if where == "loop" else f"{inside.url}/latest/meta-data"
        service.default = Answer(307, headers={"location": target})
        async with scene(tmp_path, http(f"{service.url}/hooks")) as here:
            await here.post(9)
            await here.others_go_on()
            await here.is_in(GateState.PAUSED)
            await here.failed_with("redirect", 3)
            await here.waits(9)
            service.default = Answer()
            await here.recovers()
            here.has_all(arrivals(service))
        assert {request.path for request in service.requests} == {"/hooks"}
        assert inside.requests == []


@pytest.mark.parametrize(
    ("says", "longest"),
    [("70", 70), ("date", 120), ("99999999999", 3600), ("Thu, 01 Jan 2099 00:00:00 GMT", 3600)],
)
async def test_a_throttle_is_obeyed(tmp_path: Path, service: FakeHttp, says: str, longest: float) -> None:
    text = format_datetime(datetime.now(UTC) + timedelta(seconds=120), usegmt=True) if says == "date" else says
    service.default = Answer(429, headers={"retry-after": text})
    async with scene(tmp_path, http(service.url, concurrency=4)) as here:
        await here.post(9)
        await here.others_go_on()
        await here.failed_with("throttled")
        await here.waits(9)
        metrics = Samples(await here.relay.metrics())
        assert 0.9 * longest <= metrics['relay_throttled_seconds_total{sink="ill"}'] < 1.1 * longest
        asked = len(service.requests)
        assert asked <= 4, "what was under way when it said so, and nothing after it"
        await here.post(3)
        await here.others_go_on()
        assert len(service.requests) == asked


@pytest.mark.parametrize("says", ["soon", "-5", "٣", "0"])
async def test_a_throttle_that_says_nothing_sane_is_a_failure_like_others(
    tmp_path: Path, service: FakeHttp, says: str
) -> None:
    service.default = Answer(429, headers={"retry-after": says})
    async with scene(tmp_path, http(service.url)) as here:
        await here.post(9)
        await here.others_go_on()
        await here.is_in(GateState.BROKEN)
        await here.failed_with("throttled", 8)
        await here.waits(9)
        service.default = Answer()
        await here.recovers()
        here.has_all(arrivals(service))
        metrics = Samples(await here.relay.metrics())
        assert metrics['relay_throttled_seconds_total{sink="ill"}'] == 0


async def test_a_service_that_asks_to_wait_for_ever_is_broken_and_loses_nothing(
    tmp_path: Path, service: FakeHttp
) -> None:
    service.default = Answer(503, headers={"retry-after": "1"})
    async with scene(tmp_path, http(service.url, order="none", retry={"base": "10ms", "max_attempts": 2})) as here:
        await here.post(20)
        await here.others_go_on()
        await here.is_in(GateState.BROKEN)
        await here.waits(20)
        service.default = Answer()
        await here.recovers()
        here.has_all(arrivals(service))


@pytest.mark.parametrize(
    ("status", "outcome", "events"),
    [(410, "gone", 1), (401, "unauthorized", 3), (403, "unauthorized", 3), (404, "not_found", 3)],
)
async def test_an_answer_that_needs_a_person_pauses_the_sink(
    tmp_path: Path, service: FakeHttp, status: int, outcome: str, events: int
) -> None:
    service.default = Answer(status)
    options = http(service.url, order="none", concurrency=1, retry={"base": "10ms", "max_attempts": 3})
    async with scene(tmp_path, options) as here:
        await here.post(events)
        await here.is_in(GateState.PAUSED)
        assert len({request.headers["webhook-id"] for request in service.requests}) >= events
        await here.post(20)
        await here.others_go_on()
        await here.failed_with(outcome, 12)  # probes, more of them than one event could pay for
        await here.waits(events + 20)
        service.default = Answer()
        await here.recovers()
        here.has_all(arrivals(service))


async def test_one_event_that_the_service_does_not_want_pauses_nothing(tmp_path: Path, service: FakeHttp) -> None:
    async with scene(tmp_path, http(service.url, order="none", concurrency=1)) as here:
        for status, outcome in ((400, "refused"), (413, "too_large"), (415, "refused"), (422, "refused")):
            service.will(Answer(status))
            await here.post(1)
            await here.failed_with(outcome)
            await here.is_in(GateState.OPEN)
        await here.post(5)
        await here.others_go_on()
        await here.relay.settled("ill", 9)
        metrics = Samples(await here.relay.metrics())
    assert metrics['relay_dead_total{reason="refused",sink="ill"}'] == 3
    assert metrics['relay_dead_total{reason="too_large",sink="ill"}'] == 1
    assert metrics['relay_delivered_total{sink="ill"}'] == 5


# Who it is


@pytest.mark.parametrize("fault", ["expired", "another host", "self-signed"])
async def test_a_certificate_that_is_no_good_is_never_talked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    authority = Authority()
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", authority.trusting())
    bad: dict[str, bool | ssl.SSLContext] = {
        "expired": authority.server("localhost", expired=True),
        "another host": authority.server("crm.example"),
        "self-signed": True,
    }
    async with (
        FakeHttp(tls=bad[fault]) as service,
        scene(tmp_path, http(f"https://localhost:{service.port}")) as here,
    ):
        await here.post(9)
        await here.others_go_on()
        await here.is_in(GateState.PAUSED)
        await here.failed_with("tls", 5)
        await here.waits(9)
        assert service.requests == []
        await service.stop()
        service.tls = authority.server("localhost")
        await service.start()
        await here.recovers()
        here.has_all(arrivals(service))


class Names:
    """A resolver that says what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        self.error: int | None = None
        self.answers = asyncio.Event()
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self.look_up)

    async def look_up(self, _host: Any, port: Any, **_more: Any) -> list[Any]:
        await self.answers.wait()
        if self.error is not None:
            raise socket.gaierror(self.error, "the resolver says no")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in self.addresses]


@pytest.mark.parametrize(
    ("error", "outcome"), [(socket.EAI_NONAME, "dns"), (socket.EAI_AGAIN, "dns"), (None, "timeout")]
)
async def test_a_name_that_does_not_resolve(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: FakeHttp, error: int | None, outcome: str
) -> None:
    names = Names(monkeypatch)
    if error is not None:
        names.error = error
        names.answers.set()
    async with scene(tmp_path, http(f"http://crm.example:{service.port}")) as here:
        await here.post(9)
        await here.others_go_on()
        await here.is_in(GateState.BROKEN)
        await here.failed_with(outcome, 5)
        await here.waits(9)
        names.error, names.addresses = None, ["127.0.0.1"]
        names.answers.set()
        await here.recovers()
        here.has_all(arrivals(service))


async def test_a_name_that_turns_inward_is_blocked_at_the_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: FakeHttp
) -> None:
    """Rebinding: the first answer is allowed (here 127.0.0.1 counts as such), the next one leads inside."""
    really = address.refusal
    monkeypatch.setattr(address, "refusal", lambda text: None if text == "127.0.0.1" else really(text))
    names, later = Names(monkeypatch), Later(monkeypatch)
    names.addresses = ["127.0.0.1"]
    names.answers.set()
    inside = FakeHttp(host="127.0.0.2")
    inside._port = service.port
    options = http(f"http://crm.example:{service.port}", allow_private=False)
    async with inside, scene(tmp_path, options) as here:
        await here.post(3)
        await here.relay.delivered("ill", 3)
        names.addresses = ["127.0.0.2"]
        later.pass_by()
        await here.post(9)
        await here.others_go_on()
        await here.is_in(GateState.PAUSED)
        await here.failed_with("blocked_address", 3)
        await here.waits(9)
        names.addresses = ["127.0.0.1"]
        later.pass_by()
        await here.recovers()
        here.has_all(arrivals(service))
        assert inside.requests == []


class Later:
    """The client's own clock: it remembers an address for ten seconds, and an idle connection for fifteen."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ahead = 0.0
        monkeypatch.setattr("aiohttp.connector.monotonic", lambda: monotonic() + self._ahead)

    def pass_by(self) -> None:
        self._ahead += 20.0
