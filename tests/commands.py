"""The commands as people call them: in this process, or in a terminal."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import struct
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Any

import pytest
from click.testing import CliRunner, Result

from relay.cli import main
from relay.commands import output
from relay.model import Verdict
from relay.ports import Store
from relay.stores import open_store
from tests.storing import store_url


async def invoke(folder: Path, *arguments: str) -> Result:
    """Run the command in a thread, as it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, main, [*arguments, "-c", str(folder / "relay.yaml")])


async def done(folder: Path, *arguments: str) -> str:
    """What a command says that must end well."""
    result = await invoke(folder, *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


async def as_json(folder: Path, *arguments: str) -> Any:
    """The same, for machines."""
    return json.loads(await done(folder, *arguments, "--json"))


def files(folder: Path, *names: str, **more: Any) -> dict[str, Any]:
    """A file sink for each of these names."""
    return {name: {"type": "file", "path": str(folder / name), **more} for name in names}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    """The store that `write_config` names."""
    store = await open_store(store_url(folder))
    try:
        yield store
    finally:
        await store.close()


async def settle(store: Store, sink: str, verdict: Verdict) -> None:
    """End all that is due at the sink so."""
    now = datetime.now(UTC)
    claimed = await store.claim(sink, limit=1000, now=now, lease=timedelta(minutes=1))
    assert all(await store.settle([(delivery, verdict) for delivery in claimed], now=now))


def harmless(text: str) -> bool:
    """Whether nothing in it moves a terminal."""
    return all(line.isprintable() for line in text.split("\n"))


def pretend_terminal(patch: pytest.MonkeyPatch, width: int) -> None:
    """Let the commands that run in this process print as in a terminal of so many columns."""
    for console in (output.out, output.err):
        patch.setattr(console, "_force_terminal", True)
        patch.setattr(console, "_width", width)
        patch.setattr(console, "_color_system", None)


def in_terminal(folder: Path, width: int, *arguments: str) -> list[str]:
    """The lines that the command shows in a terminal of so many columns, without styles."""
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal_text(folder, width, {}, *arguments)).rstrip().splitlines()


def terminal_text(folder: Path, width: int, env: dict[str, str], *arguments: str) -> str:
    """All that the command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    base: dict[str, Any] = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "PYTHONUTF8": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", *arguments, "-c", str(folder / "relay.yaml")],
        stdin=theirs, stdout=theirs, stderr=theirs, env={**base, **env, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    os.close(theirs)
    text = b""
    try:
        while piece := os.read(ours, 65536):
            text += piece
    except OSError:  # on Linux a terminal that nobody holds open ends with EIO
        pass
    finally:
        os.close(ours)
        process.wait(20)
    return text.decode().replace("\r\n", "\n")
