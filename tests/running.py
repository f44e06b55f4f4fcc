"""A whole relay inside the test, on free loopback ports, and a way to post signed webhooks at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
from multidict import CIMultiDict
from prometheus_client.parser import text_string_to_metric_families

from relay.app import App, running
from relay.config import load
from relay.lane import Lane
from relay.ports import Clock
from relay.simulator import SimulatorKey
from tests.fakes.http import WAIT
from tests.fakes.keys import key_pair
from tests.storing import store_url

WEBHOOK_ID = "0c2f6c1e-webhook"
MEETING = "bbb0f1c4-a-meeting"
ORGANIZATION = "an-organization"
_PATIENT = {"timeout": "60s"}
"""A machine that stands still for some seconds is no failure of a sink."""


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


def payload(kind: str = "meeting.started", *, meeting: str = MEETING, **more: Any) -> dict[str, Any]:
    """What Dyte sends, shortened."""
    about = {"id": meeting, "sessionId": "s-1", "title": "Täglich", "organizedBy": {"id": ORGANIZATION, "name": "O"}}
    return {"event": kind, "meeting": about, **more}


def signed(
    body: bytes,
    *,
    key: SimulatorKey | None = None,
    family: str = "dyte",
    uuid: str | None = None,
    webhook_id: str = WEBHOOK_ID,
) -> dict[str, str]:
    """The headers that the sender puts on this body; a new uuid each time unless one is given."""
    return {
        f"{family}-signature": (key or key_pair()).sign(body),
        f"{family}-uuid": uuid or str(uuid4()),
        f"{family}-webhook-id": webhook_id,
        "content-type": "application/json",
    }


class Sender:
    """Posts to one base address as Dyte would."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.base = base
        self.session = session

    async def post(
        self,
        given: Mapping[str, Any] | bytes | None = None,
        *,
        path: str = "/webhooks/dyte",
        headers: Mapping[str, str] | CIMultiDict[str] | None = None,
        **signing: Any,
    ) -> Answered:
        """Post a payload or bytes, signed (see `signed`) unless `headers` are given."""
        body = given if isinstance(given, bytes) else orjson.dumps(given or payload())
        return await self.request("POST", path, data=body, headers=headers or signed(body, **signing))

    async def request(self, method: str, path: str, **more: Any) -> Answered:
        async with self.session.request(method, self.base + path, allow_redirects=False, **more) as response:
            return Answered(response.status, response.headers, await response.read())


@asynccontextmanager
async def sender(base: str) -> AsyncIterator[Sender]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=WAIT)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as session:
        yield Sender(session, base)


class Relay(Sender):
    """A relay that runs."""

    def __init__(self, session: aiohttp.ClientSession, app: App, folder: Path) -> None:
        super().__init__(session, f"http://{app.gateway_address}")
        self.app = app
        self.folder = folder

    async def admin(self, path: str) -> Answered:
        """GET from the private side."""
        async with self.session.get(f"http://{self.app.admin_address}{path}") as response:
            return Answered(response.status, response.headers, await response.read())

    async def metrics(self) -> dict[str, float]:
        """What /metrics says, by `name{label="value",…}` with the labels sorted; series that are absent count as 0."""
        self.app.backlog.again = float("-inf")
        return samples((await self.admin("/metrics")).body)

    async def totals(self) -> Mapping[str, int]:
        return await self.app.store.totals()

    async def drained(self) -> None:
        """Return when nothing waits for a sink that is enabled."""
        await until(self._is_drained, "an empty backlog")

    async def delivered(self, sink: str, count: int) -> None:
        """Return when the sink has so many."""
        await self._reached(sink, count, {"delivered"})

    async def settled(self, sink: str, count: int) -> None:
        """Return when so many of the sink's deliveries are delivered or dead."""
        await self._reached(sink, count, {"delivered", "dead"})

    async def _reached(self, sink: str, count: int, states: set[str]) -> None:
        async def enough() -> bool:
            records = await self.app.store.deliveries(sink=sink, limit=10_000)
            settled = {record.id for record in records if record.state in states}
            lane = self.app.dispatcher.lanes.get(sink)
            return len(settled) >= count and (lane is None or settled.isdisjoint(_held(lane)))

        await until(enough, f"{count} deliveries to {sink}")

    async def _is_drained(self) -> bool:
        return not await self.app.store.backlog() and not any(map(_held, self.app.dispatcher.lanes.values()))


def _held(lane: Lane) -> Collection[int]:
    """What the lane has begun and not counted: the store has its end a moment before."""
    return lane._leases._until.keys()


class Samples(dict[str, float]):
    def __missing__(self, name: str) -> float:
        return 0.0


def samples(exposition: bytes) -> Samples:
    """All series of an exposition."""
    found = Samples()
    for family in text_string_to_metric_families(exposition.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{text}"' for name, text in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def until(condition: Callable[[], Awaitable[bool]], what: str, *, timeout: float = 30.0) -> None:
    """Look again and again, with a deadline; for what nobody announces."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not await condition():
        assert loop.time() < deadline, f"there is no {what} within {timeout:g} s"
        await asyncio.sleep(0.01)


def config(
    folder: Path,
    *,
    sinks: Mapping[str, Any] | None = None,
    routes: Sequence[Mapping[str, Any]] | None = None,
    sources: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A relay.yaml: one pinned source, a file as the only sink, everything to every sink, unless said otherwise."""
    chosen = {"audit": {"type": "file", "path": str(folder / "events.jsonl")}} if sinks is None else sinks
    chosen = {name: {**_PATIENT, **options} for name, options in chosen.items()}
    everything = [{"name": "everything", "events": ["*"], "to": list(chosen)}] if chosen else []
    return {
        "store": store_url(folder),
        "gateway": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "sources": {"dyte": {"public_key": key_pair().public_pem}} if sources is None else sources,
        "sinks": chosen,
        "routes": everything if routes is None else routes,
        **more,
    }


def write_config(folder: Path, **parts: Any) -> Path:
    """`config` as a file: JSON is YAML."""
    file = folder / "relay.yaml"
    file.write_bytes(orjson.dumps(config(folder, **parts), option=orjson.OPT_INDENT_2))
    return file


@asynccontextmanager
async def relay_running(folder: Path, *, clock: Clock | None = None, **parts: Any) -> AsyncIterator[Relay]:
    """A relay with the `config` of these parts; stopped in order at the end."""
    settings = load(write_config(folder, **parts), {})
    async with running(settings, clock=clock) as app, sender("") as posting:
        yield Relay(posting.session, app, folder)
