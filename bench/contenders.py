"""Who is measured: how each is started, fresh for each turn, and where it takes webhooks."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import orjson

from bench.pool import Pool
from bench.processes import Cores, Process, started
from relay.model import value
from tests.ports import free_port
from tests.running import Samples, samples

_PATH = "/webhooks/dyte"
_HTTP_TIME = 30.0


@value
class Server:
    """One that runs."""

    process: Process
    url: str
    admin: str = ""
    """Where its metrics are; only the relay has some."""
    listening_after: float = 0.0
    """Seconds from its start."""

    def metrics(self) -> Samples:
        """What /metrics says now."""
        with urlopen(f"{self.admin}/metrics", timeout=_HTTP_TIME) as response:
            return samples(response.read())


@dataclass
class Place:
    """What a contender needs to run."""

    folder: Path
    pool: Pool
    cores: Cores
    number: int = 0
    key: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key = self.folder / "key.pem"
        self.key.write_text(self.pool.public_key)

    def fresh(self, name: str) -> Path:
        """A new folder for one turn."""
        self.number += 1
        made = self.folder / f"{self.number}-{name}"
        made.mkdir()
        return made


Start = Callable[[Place], AbstractContextManager[Server]]


@value
class Contender:
    """One who takes webhooks."""

    name: str
    """In the JSON."""
    label: str
    """For people."""
    start: Start


def floor(*, verifying: bool) -> Start:
    """An aiohttp handler and nothing else."""

    @contextmanager
    def start(place: Place) -> Iterator[Server]:
        port = free_port()
        command = [sys.executable, "-m", "bench.floor", str(port), *([str(place.key)] if verifying else [])]
        with started(command, cores=[place.cores.server], log=place.fresh("floor") / "log") as process:
            process.wait_for_port(port)
            yield Server(process=process, url=f"http://127.0.0.1:{port}{_PATH}")

    return start


def durable(what: str) -> Start:
    """The verifying handler with something durable behind it: one `row` for each event, or the relay's `store`."""

    @contextmanager
    def start(place: Place) -> Iterator[Server]:
        port, folder = free_port(), place.fresh(what)
        command = [sys.executable, "-m", "bench.durable", str(port), str(place.key), str(folder / "relay.db"), what]
        with (
            _forgotten(folder, keep=False),
            started(command, cores=[place.cores.server], log=folder / "log") as process,
        ):
            process.wait_for_port(port)
            yield Server(process=process, url=f"http://127.0.0.1:{port}{_PATH}")

    return start


def relay(
    sinks: Mapping[str, Any],
    *,
    to: Path | None = None,
    workers: int = 1,
    everywhere: bool = False,
    module: Sequence[str] = ("relay",),
    **more: Any,
) -> Start:
    """`relay serve` as it comes, everything to each of these sinks.

    `to` is a folder that has a store already, `everywhere` lets it have all cores, `module` is what is run in the
    relay's place, and `more` goes into relay.yaml.
    """

    @contextmanager
    def start(place: Place) -> Iterator[Server]:
        folder = to or place.fresh("relay")
        gateway, admin = free_port(), free_port()
        config = folder / "relay.yaml"
        config.write_bytes(orjson.dumps(configuration(place, folder, sinks, gateway, admin, workers) | more))
        began = time.monotonic()
        command = [sys.executable, "-m", *module, "serve", "-c", str(config), "--log-format", "json"]
        where = place.cores.all if everywhere else [place.cores.server]
        with _forgotten(folder, keep=to is not None), started(command, cores=where, log=folder / "log") as process:
            process.wait_for_port(gateway)
            yield Server(
                process=process,
                url=f"http://127.0.0.1:{gateway}{_PATH}",
                admin=f"http://127.0.0.1:{admin}",
                listening_after=time.monotonic() - began,
            )

    return start


@contextmanager
def _forgotten(folder: Path, *, keep: bool) -> Iterator[None]:
    """Remove it at the end: what is not written out yet need not disturb the next turn."""
    yield
    if not keep:
        shutil.rmtree(folder)


def configuration(
    place: Place, folder: Path, sinks: Mapping[str, Any], gateway: int, admin: int, workers: int
) -> dict[str, Any]:
    """A relay.yaml, which says nothing about speed but how many workers there are.

    The pool's bodies come again and again under new uuids. Within the usual window of five minutes that would be a
    retry, which writes no event. With a window of a millisecond the store looks for the body as always, and finds that
    it is an event of its own.
    """
    many = {"workers": workers} if workers > 1 else {}
    return {
        "store": f"sqlite:///{folder}/relay.db",
        "gateway": {"listen": f"127.0.0.1:{gateway}", **many},
        "admin": {"listen": f"127.0.0.1:{admin}"},
        "sources": {"dyte": {"public_key": place.pool.public_key, "replay_window": "1ms"}},
        "sinks": sinks,
        "routes": [{"name": "everything", "events": ["*"], "to": list(sinks)}] if sinks else [],
    }


DISABLED = {"downstream": {"type": "http", "url": "http://127.0.0.1:9/hook", "allow_private": True, "enabled": False}}
"""A sink that takes nothing: each event still gets its delivery, which waits."""

BARE = Contender(name="bare", label="aiohttp, no verification", start=floor(verifying=False))
FLOOR = Contender(name="floor", label="aiohttp + verification", start=floor(verifying=True))
ROW = Contender(name="row", label="verification + one row kept", start=durable("row"))
STORING = Contender(name="store", label="verification + the store", start=durable("store"))
ACCEPTING = Contender(name="relay", label="dyte-relay, durable", start=relay(DISABLED))
