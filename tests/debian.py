"""A program that tests and benchmarks need: the one on the path, or the one out of Debian's package, unpacked and not
installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
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
    """Debian's; it holds `/usr/bin/<name>`."""
    hint: str
    """How else to get it."""
    libraries: Sequence[str] = ()
    """Packages of shared libraries that it needs and that not every machine has."""

    @property
    def _folder(self) -> Path:
        return Path.home() / ".cache" / "dyte-relay" / self.name

    @property
    def _unpacked(self) -> Path:
        """What is started: the program, by a script if it has libraries of its own."""
        return self._folder / (f"{self.name}.sh" if self.libraries else f"usr/bin/{self.name}")

    def find(self) -> Path:
        """Where it is; raises NoProgram."""
        found = shutil.which(self.name)
        if found is not None:
            return Path(found)
        if self._unpacked.exists():
            return self._unpacked
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
            wanted = [self.package, *self.libraries]
            subprocess.run([apt_get, "-qq", "download", *wanted], check=True, timeout=_SECONDS, cwd=folder)
            for package in Path(folder).glob("*.deb"):
                subprocess.run([dpkg, "-x", str(package), str(self._folder)], check=True, timeout=_SECONDS)
        if self.libraries:
            self._write_script()
        return self.find()

    def _write_script(self) -> None:
        places = ":".join(str(folder) for folder in (self._folder / "usr" / "lib").glob("*-linux-*"))
        program = self._folder / "usr" / "bin" / self.name
        self._unpacked.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{places}" exec "{program}" "$@"\n')
        self._unpacked.chmod(0o755)

    def main(self) -> None:
        """Fetch it and say where it is, or why not."""
        try:
            sys.stdout.write(f"{self.fetch()}\n")
        except (NoProgram, subprocess.SubprocessError) as error:
            sys.exit(str(error))
