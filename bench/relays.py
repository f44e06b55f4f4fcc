"""A relay in a process of its own, set up for a measurement."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from tests.crash.process import RelayProcess


@asynccontextmanager
async def relay(folder: Path, *, source: Mapping[str, Any], sinks: Mapping[str, Any]) -> AsyncIterator[str]:
    """Where to post; everything goes to every sink."""
    process = await RelayProcess.start(_write_config(folder, source, sinks))
    try:
        yield f"http://{await process.address()}/webhooks/dyte"
    finally:
        await process.kill()


def _write_config(folder: Path, source: Mapping[str, Any], sinks: Mapping[str, Any]) -> Path:
    folder.mkdir()
    settings = {
        "store": f"sqlite:///{folder}/relay.db",
        "gateway": {"listen": "127.0.0.1:0"},
        "admin": {"listen": "127.0.0.1:0"},
        "sources": {"dyte": source},
        "sinks": sinks,
        "routes": [{"name": "everything", "to": list(sinks)}] if sinks else [],
    }
    file = folder / "relay.yaml"
    file.write_bytes(orjson.dumps(settings))
    return file
