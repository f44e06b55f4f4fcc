"""A relay in a process of its own, so that it can be killed."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

START_TIME = 20.0
"""Seconds that a relay may take until it listens; generous, for a machine that is busy."""


def write_config(folder: Path, *, public_key: str, receiver: str, in_flight: Mapping[str, int]) -> Path:
    """A relay.yaml (JSON is YAML) with a pinned key and two sinks; it lives in the folder with all that it writes."""
    retry = {"base": "1ms", "cap": "10ms"}
    config: dict[str, Any] = {
        "store": f"sqlite:///{folder}/relay.db",
        "gateway": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "sources": {"dyte": {"public_key": public_key}},
        "sinks": {
            "file": {"type": "file", "path": str(folder / "events.jsonl"), "retry": retry},
            "http": {"type": "http", "url": receiver, "allow_private": True, "order": "meeting", "retry": retry},
        },
        "routes": [{"name": "everything", "events": ["*"], "to": ["file", "http"]}],
    }
    for sink, concurrency in in_flight.items():
        config["sinks"][sink]["concurrency"] = concurrency
    path = folder / "relay.yaml"
    path.write_bytes(orjson.dumps(config, option=orjson.OPT_INDENT_2))
    return path


class RelayProcess:
    """`relay serve`, started by `start` and ended by `kill`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._last_lines: deque[bytes] = deque(maxlen=20)
        self._address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, config: Path) -> RelayProcess:
        command = ("-m", "relay", "serve", "-c", str(config), "--log-format", "json")
        return cls(await asyncio.create_subprocess_exec(sys.executable, *command, stderr=asyncio.subprocess.PIPE))

    async def listening(self) -> str:
        """The address of the public side, as soon as it answers there."""
        async with asyncio.timeout(START_TIME):
            either: set[asyncio.Future[Any]] = {self._address, self._reading}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        assert self._address.done(), f"the relay ended before it listened: {self._told()}"
        return self._address.result()

    async def kill(self) -> None:
        """SIGKILL, which nothing can catch; it must have been alive until then."""
        ended_before = self._process.returncode
        if ended_before is None:
            self._process.kill()
        await self._process.wait()
        await self._reading
        self._address.cancel()
        assert ended_before is None, f"the relay ended by itself with {ended_before}: {self._told()}"

    async def _read(self) -> None:
        """Follow the log to its end; a full pipe would stop the relay."""
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self._last_lines.append(line)
            if b"relay.listening" in line and not self._address.done():
                self._address.set_result(orjson.loads(line)["gateway"])

    def _told(self) -> str:
        return b"".join(self._last_lines).decode(errors="replace")
