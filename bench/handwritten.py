"""What people would write instead of a relay: the two receivers under bench/peers/, installed and started.

Each lives in a folder of its own under build/, made anew when its lock file changes; nothing of it touches the
project's environment.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.contenders import Contender, Place, Server, Start
from bench.processes import started
from bench.run import BUILD, Missing
from tests.ports import free_port

_PEERS = Path(__file__).with_name("peers")
_PATH = "/webhooks/dyte"
_SECONDS = 600


def express(*, broker: str = "", topic: str = "") -> Start:
    """Express on Node; with a broker, kafkajs waits for all replicas before the answer."""

    @contextmanager
    def start(place: Place) -> Iterator[Server]:
        port, folder = free_port(), _express()
        command = ["node", str(folder / "server.js"), str(port), str(place.key), *([broker, topic] if broker else [])]
        log, env = place.fresh("express") / "log", {"NODE_ENV": "production"}
        with started(command, cores=[place.cores.server], log=log, env=env, cwd=folder) as process:
            process.wait_for_port(port)
            yield Server(process=process, url=f"http://127.0.0.1:{port}{_PATH}")

    return start


def fastapi(*, broker: str = "", topic: str = "") -> Start:
    """FastAPI on uvicorn, uvloop and httptools; with a broker, aiokafka waits for all replicas before the answer."""

    @contextmanager
    def start(place: Place) -> Iterator[Server]:
        port, folder = free_port(), _fastapi()
        command = [str(folder / "bin" / "python"), "-m", "uvicorn", "receiver:app", "--port", str(port)]
        command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
        env = {"RECEIVER_KEY": str(place.key)}
        env |= {"RECEIVER_BROKER": broker, "RECEIVER_TOPIC": topic} if broker else {}
        log, cwd = place.fresh("fastapi") / "log", _PEERS / "fastapi"
        with started(command, cores=[place.cores.server], log=log, env=env, cwd=cwd) as process:
            process.wait_for_port(port)
            yield Server(process=process, url=f"http://127.0.0.1:{port}{_PATH}")

    return start


def contenders() -> Sequence[Contender]:
    """Both, verifying and nothing else. Raises Missing where one cannot be had."""
    install()
    return (
        Contender(name="express", label="Express (Node)", start=express()),
        Contender(name="fastapi", label="FastAPI (uvicorn)", start=fastapi()),
    )


def install() -> None:
    """Install both, unless they are there."""
    _express()
    _fastapi()


def _express() -> Path:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise Missing(f"no {tool}: install Node 20 or newer")
    source, folder = _PEERS / "express", _folder("express", "package-lock.json")
    if not (folder / ".ready").exists():
        shutil.copytree(source, folder, dirs_exist_ok=True)
        _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
        (folder / ".ready").touch()
    shutil.copy(source / "server.js", folder)
    return folder


def _fastapi() -> Path:
    folder = _folder("fastapi", "requirements.txt")
    if not (folder / ".ready").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], _PEERS)
        requirements = _PEERS / "fastapi" / "requirements.txt"
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        _run([*pip, "--no-deps", "--require-hashes", "-r", str(requirements)], _PEERS)
        (folder / ".ready").touch()
    return folder


def _folder(name: str, lock: str) -> Path:
    digest = hashlib.sha256((_PEERS / name / lock).read_bytes()).hexdigest()[:12]
    return BUILD / "peers" / f"{name}-{digest}"


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_SECONDS, cwd=folder)
    except subprocess.CalledProcessError as error:
        raise Missing(f"{' '.join(command)} failed: {error.stderr[-500:]}") from error
