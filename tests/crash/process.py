"""A relay in a process of its own, so that it can be killed.

The process is forked from one that has imported everything already, so it listens within hundredths of a second: ten
times as many kills in the same time, and those that come early hit the recovery and not Python's import.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import orjson

from tests.crash import doomed
from tests.crash.doomed import Plan
from tests.crash.points import SERVE

START_TIME = 40.0
"""Seconds that a relay may take until it listens; generous, for a machine that is busy."""
END_TIME = 60.0
TIMEOUTS = {"file": 2.0, "http": 0.5, "free": 0.5}
"""Seconds of one attempt, by sink; `http` keeps the order of each meeting."""
ORDERED = ("http",)
IN_FLIGHT = {"file": 8, "http": 8, "free": 8}
"""Concurrency of each sink."""
UNDER_WAY = {sink: 2 * most for sink, most in IN_FLIGHT.items()}
"""What a kill may make each sink get twice: the attempts, and as many results that wait to be recorded."""

FILE = "events.jsonl"
"""Where the sink `file` writes, in the folder of the configuration."""

UNTOUCHED = Plan()

_NURSERY = multiprocessing.get_context("forkserver")
# multiprocessing imports anew in each process whatever runs us: the long form, or pytest.
_RUNNERS = ("tests.crash.harness", "tests.crash.progress", *(name for name in ("pytest",) if name in sys.modules))
_NURSERY.set_forkserver_preload(["tests.crash.doomed", "uvloop", *_RUNNERS])


def write_config(folder: Path, *, public_key: str, receivers: str, store: str) -> Path:
    """A relay.yaml (JSON is YAML) with a pinned key and three sinks; it lives in the folder with all that it writes."""
    config: dict[str, Any] = {
        "store": store,
        "gateway": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "sources": {"dyte": {"public_key": public_key}},
        "sinks": {
            "file": {"type": "file", "path": str(folder / FILE)},
            "http": {"type": "http", "url": f"{receivers}/http", "allow_private": True, "order": "meeting"},
            "free": {"type": "http", "url": f"{receivers}/free", "allow_private": True},
        },
        "routes": [{"name": "everything", "events": ["*"], "to": list(IN_FLIGHT)}],
    }
    for sink, concurrency in IN_FLIGHT.items():
        config["sinks"][sink] |= {
            "concurrency": concurrency,
            "timeout": f"{TIMEOUTS[sink]}s",
            # A kill burns an attempt; nothing but the sink's word may make a dead letter here.
            "retry": {"base": "1ms", "cap": "10ms", "max_attempts": 10_000},
        }
    path = folder / "relay.yaml"
    path.write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    return path


class RelayProcess:
    """`relay serve`, or another command, begun by `start` and ended by `kill`, by `stop` or by itself."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self._last_lines: deque[bytes] = deque(maxlen=20)
        self.moments: Counter[str] = Counter()
        """What it has logged, and how often."""
        self._workers: dict[int, int] = {}
        """The process of each worker, where it has any."""
        self._listening: asyncio.Future[Mapping[str, str]] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None]

    @classmethod
    async def start(cls, config: Path, plan: Plan = UNTOUCHED, *, command: Sequence[str] = SERVE) -> RelayProcess:
        arguments = (*command, "-c", str(config))
        log, its_log = _NURSERY.Pipe(duplex=False)
        process = _NURSERY.Process(target=doomed.run, args=(plan, arguments, its_log), daemon=True)
        relay = cls(process)
        try:
            await asyncio.to_thread(process.start)
        finally:
            its_log.close()
            relay._reading = asyncio.create_task(relay._read(os.dup(log.fileno())))
            log.close()
        return relay

    async def listening(self) -> str | None:
        """The address of the public side, as soon as it answers there; None if the relay ends before."""
        async with asyncio.timeout(START_TIME):
            either: set[asyncio.Future[Any]] = {self._listening, self._reading}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        return self._listening.result()["gateway"] if self._listening.done() else None

    async def address(self) -> str:
        """The same, of a relay that must not end before."""
        address = await self.listening()
        assert address is not None, f"the relay ended before it listened: {self.told()}"
        return address

    async def kill(self) -> None:
        """SIGKILL, which nothing can catch; it must have been alive until then."""
        ended_before = self._process.exitcode
        if ended_before is None:
            self._process.kill()
        await self.ended()
        assert ended_before is None, f"the relay ended by itself with {ended_before}: {self.told()}"

    def kill_worker(self, number: int) -> None:
        """SIGKILL to one of its workers, which must be alive."""
        os.kill(self._workers[number], signal.SIGKILL)

    async def stop(self) -> None:
        """SIGTERM; it must end in order."""
        self.signal(signal.SIGTERM)
        code = await self.ended()
        assert code == 0, f"the relay did not end in order but with {code}: {self.told()}"

    async def gone(self) -> None:
        """See to it that it has ended, however."""
        if self._process.exitcode is None:
            self._process.kill()
        await self.ended()

    def signal(self, number: signal.Signals) -> None:
        assert self._process.pid is not None
        os.kill(self._process.pid, number)

    async def ended(self) -> int:
        """The exit code, once it has ended."""
        await asyncio.to_thread(self._process.join, END_TIME)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            await asyncio.to_thread(self._process.join, END_TIME)
        await self._reading
        self._listening.cancel()
        assert code is not None, f"the relay did not end: {self.told()}"
        return code

    async def _read(self, log: int) -> None:
        """Follow the log to its end; a full pipe would stop the relay."""
        reader = asyncio.StreamReader(limit=1024 * 1024)
        loop = asyncio.get_running_loop()
        file = os.fdopen(log, "rb")
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        try:
            async for line in reader:
                self._last_lines.append(line)
                self._note(line)
        finally:
            transport.close()

    def _note(self, line: bytes) -> None:
        try:
            logged = orjson.loads(line)
        except orjson.JSONDecodeError:  # a traceback, or what a kill has cut off
            return
        self.moments[logged["moment"]] += 1
        if logged["moment"] == "worker.begun":
            self._workers[logged["worker"]] = logged["pid"]
        if logged["moment"] == "relay.listening" and not self._listening.done():
            self._listening.set_result(logged)

    def told(self) -> str:
        """The end of its log."""
        return b"".join(self._last_lines).decode(errors="replace")
