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


def lacking(package: str, *, hint: str) -> Sequence[str]:
    """The packages, this one among them, that installing it would bring to this machine. Raises NoProgram."""
    apt_get = _apt_get(package, hint)
    command = [apt_get, "-qq", "--simulate", "--no-install-recommends", "install", package]
    simulated = subprocess.run(command, check=True, timeout=_SECONDS, capture_output=True, text=True)
    lines = (line.split() for line in simulated.stdout.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "Inst"]


def unpack(packages: Sequence[str], folder: Path, *, hint: str) -> None:
    """Fetch these packages and unpack them all into the folder. Raises NoProgram, or what went wrong."""
    apt_get = _apt_get(packages[0], hint)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="relay-debian-") as fetched:
        subprocess.run([apt_get, "-qq", "download", *packages], check=True, timeout=_SECONDS, cwd=fetched)
        for package in sorted(Path(fetched).glob("*.deb")):
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True, timeout=_SECONDS)


def update() -> None:
    """Learn which packages there are, where we may."""
    if os.geteuid() == 0 and (apt_get := shutil.which("apt-get")):
        subprocess.run([apt_get, "-qq", "update"], check=True, timeout=_SECONDS)


def _apt_get(package: str, hint: str) -> str:
    apt_get = shutil.which("apt-get")
    if apt_get is None or shutil.which("dpkg-deb") is None:
        raise NoProgram(f"no {package}, and no Debian to fetch it from: {hint}")
    return apt_get


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
    libraries: Sequence[str] = ()
    """Packages of shared libraries that it needs and that not every machine has."""

    @property
    def _folder(self) -> Path:
        return Path.home() / ".cache" / "dyte-relay" / self.name

    @property
    def _unpacked(self) -> Path:
        """What is started: the program, by a script if it has libraries of its own."""
        return self._folder / (f"{self.name}.sh" if self.libraries else f"{self.inside}/{self.name}")

    def find(self) -> Path:
        """Where it is; raises NoProgram."""
        found = shutil.which(self.name) or shutil.which(self.name, path=f"/{self.inside}")
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
        update()
        unpack([self.package, *self.libraries], self._folder, hint=self.hint)
        if self.libraries:
            self._write_script()
        return self.find()

    def _write_script(self) -> None:
        places = ":".join(str(folder) for folder in (self._folder / "usr" / "lib").glob("*-linux-*"))
        program = self._folder / self.inside / self.name
        self._unpacked.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{places}" exec "{program}" "$@"\n')
        self._unpacked.chmod(0o755)

    def main(self) -> None:
        """Fetch it and say where it is, or why not."""
        try:
            sys.stdout.write(f"{self.fetch()}\n")
        except (NoProgram, subprocess.SubprocessError) as error:
            sys.exit(str(error))
