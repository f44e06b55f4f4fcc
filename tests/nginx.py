"""nginx as config/scaled/nginx.conf sets it up, in front of relays of the test; `python -m tests.nginx` fetches it."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.debian import Program
from tests.ports import free_port

NGINX = Program(name="nginx", package="nginx", hint="install nginx", inside="usr/sbin")
CONFIG = Path(__file__).parents[1] / "config" / "scaled" / "nginx.conf"
_SECONDS = 30.0
_AS_WE_ARE = "user root; " if os.geteuid() == 0 else ""
"""Begun by root, its workers would be somebody else, who may not write here."""


def adapted(folder: Path, *, port: int, relays: Sequence[str]) -> Path:
    """Its configuration with other addresses, and nothing else changed."""
    text = CONFIG.read_text("utf-8")
    listens, places = (
        re.findall(r"^ *listen (.+);", text, re.MULTILINE),
        sorted(set(re.findall(r"relay-\d+:\d+", text))),
    )
    assert listens == ["8080"]
    assert len(places) == len(relays)
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("/tmp/", f"{folder}/")
    for place, address in zip(places, relays, strict=True):
        text = text.replace(f"{place} ", f"{address} ")
    file = folder / "nginx.conf"
    file.write_text(text.replace("/dev/stdout", f"{folder}/access.log"), "utf-8")
    return file


@contextmanager
def nginx(program: Path, folder: Path, relays: Sequence[str]) -> Iterator[str]:
    """nginx in front of these addresses, each `host:port`; where it listens."""
    port = free_port()
    file = adapted(folder, port=port, relays=relays)
    command = [str(program), "-p", str(folder), "-c", str(file), "-g", f"{_AS_WE_ARE}daemon off;"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr
    with (folder / "error.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
    try:
        _wait_for(folder / "nginx.pid", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(_SECONDS)


def _wait_for(pid_file: Path, process: subprocess.Popen[bytes]) -> None:
    """It is written once the port is listened to."""
    deadline = time.monotonic() + _SECONDS
    while not pid_file.exists() or not pid_file.read_text():  # `-t` leaves an empty one
        assert process.poll() is None, "nginx ended; see error.log"
        assert time.monotonic() < deadline, "nginx does not start"
        time.sleep(0.01)


if __name__ == "__main__":
    NGINX.main()
