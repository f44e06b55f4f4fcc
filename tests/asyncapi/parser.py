"""The AsyncAPI project's own parser, at the versions of package-lock.json, beside the project and not in it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

_HERE = Path(__file__).parent
_LOCK = _HERE / "package-lock.json"
FOLDER = Path.home() / ".cache" / "dyte-relay" / "asyncapi" / hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
_DONE = FOLDER / "done"
_SECONDS = 300


class NoParser(Exception):
    """It is not here, and cannot be had."""


def find() -> Path:
    """The folder that it is in."""
    if shutil.which("node") is None:
        raise NoParser("no node: install Node.js 20 or newer")
    if not _DONE.exists():
        raise NoParser("no AsyncAPI parser: `make asyncapi-parser` fetches it (needs npm)")
    return FOLDER


def fetch() -> Path:
    """Fetch it, unless it is here."""
    try:
        return find()
    except NoParser:
        pass
    npm = shutil.which("npm")
    if npm is None:
        raise NoParser("no npm: install Node.js 20 or newer")
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_HERE / name, FOLDER)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    subprocess.run(command, check=True, timeout=_SECONDS, cwd=FOLDER)
    _DONE.touch()
    return find()


def judge(folder: Path, documents: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the parser says of each document: whether it is one, and its diagnostics; severity 0 is an error."""
    ended = subprocess.run(
        ["node", str(_HERE / "parse.cjs"), str(folder)],
        input=orjson.dumps(documents), capture_output=True, check=True, timeout=_SECONDS,
    )  # fmt: skip
    judged: Mapping[str, Any] = orjson.loads(ended.stdout)
    return judged


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{fetch()}\n")
    except (NoParser, subprocess.SubprocessError) as error:
        sys.exit(str(error))
