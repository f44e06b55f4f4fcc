"""Where and with what a run was made: no figure means anything without it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw

_PACKAGES = ("aiohttp", "aiokafka", "apsw", "cryptography", "orjson", "uvloop")
_SYNCS = 200
_PAGE = b"x" * 4096


def machine(store: Path) -> Mapping[str, Any]:
    """The hardware, as far as the system tells."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {
        "processor": model[1] if model else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(int(memory[1]) / 1024**2, 1) if memory else None,
        "virtual": "hypervisor" in Path("/proc/cpuinfo").read_text(),
        "system": _system(),
        "kernel": platform.release(),
        "file_system": _file_system(store),
        "fdatasync_us": round(_fdatasync(store) * 1e6),
        "load_before": os.getloadavg()[0],
    }


def versions() -> Mapping[str, str]:
    """Of what is measured."""
    found = {"python": platform.python_version()}
    found |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    found["sqlite"] = apsw.sqlite_lib_version()
    commands = {
        "node": ("node", "--version"),
        "java": ("java", "-version"),
        "relay commit": ("git", "describe", "--always", "--dirty"),
    }
    return found | {name: said for name, command in commands.items() if (said := _said(command))}


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _said(command: tuple[str, ...]) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    return (done.stdout or done.stderr).partition("\n")[0].strip() if done.returncode == 0 else ""


def _file_system(folder: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    fitting = [(len(Path(at).parts), kind) for at, kind in mounts if folder.resolve().is_relative_to(at)]
    return max(fitting)[1] if fitting else "unknown"


def _fdatasync(folder: Path) -> float:
    """Seconds for one page to be safe where the stores are, in the median."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            os.write(file.fileno(), _PAGE)
            started = perf_counter()
            os.fdatasync(file.fileno())
            took.append(perf_counter() - started)
    return statistics.median(took)
