"""A program that tests and benchmarks need: the one on the path, or the one out of Debian's package, unpacked and not
installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from relay.model import value

_SECONDS = 300


class NoProgram(Exception):
    """It is not here, and cannot be had."""


@value
class Program:
    """One such program, and where it comes from."""

    name: str
    package: str
    """Debian's; it holds `/usr/bin/<name>`, or the like."""
    hint: str
    """How else to get it."""
    inside: str = "usr/bin"
    """Where it is in the package, and in a system that has it."""

    @property
    def _folder(self) -> Path:
        return Path.home() / ".cache" / "dyte-relay" / self.name

    def find(self) -> Path:
        """Where it is; raises NoProgram."""
        found = shutil.which(self.name) or shutil.which(self.name, path=f"/{self.inside}")
        if found is not None:
            return Path(found)
        unpacked = self._folder / self.inside / self.name
        if unpacked.exists():
            return unpacked
        raise NoProgram(f"no {self.name}: {self.hint}, or `make {self.name}` on Debian")

    def fetch(self) -> Path:
        """Fetch it, unless it is here; raises NoProgram, or what went wrong."""
        try:
            return self.find()
        except NoProgram:
            pass
        apt_get, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
        if apt_get is None or dpkg is None:
            raise NoProgram(f"no {self.name}, and no Debian to fetch it from: {self.hint}")
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f"relay-{self.name}-") as folder:
            if os.geteuid() == 0:
                subprocess.run([apt_get, "-qq", "update"], check=True, timeout=_SECONDS)
            subprocess.run([apt_get, "-qq", "download", self.package], check=True, timeout=_SECONDS, cwd=folder)
            [package] = Path(folder).glob(f"{self.package}_*.deb")
            subprocess.run([dpkg, "-x", str(package), str(self._folder)], check=True, timeout=_SECONDS)
        return self.find()

    def main(self) -> None:
        """Fetch it and say where it is, or why not."""
        try:
            sys.stdout.write(f"{self.fetch()}\n")
        except (NoProgram, subprocess.SubprocessError) as error:
            sys.exit(str(error))
