"""Prometheus's own promtool: the one on the path, or the one out of Debian's package, unpacked and not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path.home() / ".cache" / "dyte-relay" / "promtool"
_UNPACKED = FOLDER / "usr" / "bin" / "promtool"
_SECONDS = 300


class NoPromtool(Exception):
    """It is not here, and cannot be had."""


def find() -> Path:
    """Where promtool is."""
    found = shutil.which("promtool")
    if found is not None:
        return Path(found)
    if _UNPACKED.exists():
        return _UNPACKED
    raise NoPromtool("no promtool: install prometheus, or `make promtool` on Debian")


def fetch() -> Path:
    """Fetch it, unless it is here."""
    try:
        return find()
    except NoPromtool:
        pass
    apt_get, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt_get is None or dpkg is None:
        raise NoPromtool("no promtool, and no Debian to fetch it from: install prometheus")
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="relay-promtool-") as folder:
        if os.geteuid() == 0:
            subprocess.run([apt_get, "-qq", "update"], check=True, timeout=_SECONDS)
        subprocess.run([apt_get, "-qq", "download", "prometheus"], check=True, timeout=_SECONDS, cwd=folder)
        [package] = Path(folder).glob("prometheus_*.deb")
        subprocess.run([dpkg, "-x", str(package), str(FOLDER)], check=True, timeout=_SECONDS)
    return find()


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{fetch()}\n")
    except (NoPromtool, subprocess.SubprocessError) as error:
        sys.exit(str(error))
