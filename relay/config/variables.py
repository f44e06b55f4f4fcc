"""`${NAME}`, `${NAME:-default}` and `${file:/path}` in scalars, filled in after parsing: a value never becomes YAML.

`$${` stands for a plain `${`. What was filled in is not looked at again. A relative path starts at the folder of the
file. Of a file one line end is stripped from its end.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Protocol

from relay.config.document import BrokenNode, Entry, ListNode, MapNode, Node, ScalarNode
from relay.config.problems import Findings, Path

MAX_FILE = 64 * 1024
MAX_TOTAL = 4 * 1024 * 1024
_OPENING = re.compile(r"\$\$\{|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_ESCAPE = "write `${NAME}`, `${NAME:-default}` or `${file:/path}`, and `$${` for a plain `${`"


class _Unfilled(Exception):
    """A variable that cannot be filled in, and what to do about it."""

    def __init__(self, message: str, mend: str = _ESCAPE) -> None:
        super().__init__(message)
        self.message = message
        self.mend = mend


class _Unset(_Unfilled):
    """A variable that is right, and has no value here."""


class StandIn(Protocol):
    """Makes values for variables that have none."""

    def __call__(self, path: Path, name: str, *, whole: bool) -> str: ...


@dataclass
class Variables:
    """Where values come from."""

    env: Mapping[str, str]
    folder: FilePath
    findings: Findings
    files: set[FilePath] = field(default_factory=set)
    """The files that values were read from, or would have been."""
    stand_in: StandIn | None = None
    """What to do for a variable without a value; without it, that is an error."""
    unset: dict[str, None] = field(default_factory=dict)
    """Names of the variables that something stands in for, in the order of the file."""
    _room: int = field(default=MAX_TOTAL)

    def fill(self, node: Node, path: Path = ()) -> Node:
        """The same tree with every variable filled in; a scalar where that fails is broken, and reported."""
        match node:
            case ScalarNode():
                return self._fill_scalar(node, path)
            case ListNode():
                items = (self._fill_entry(entry, (*path, index)) for index, entry in enumerate(node.items))
                return replace(node, items=tuple(items))
            case MapNode():
                filled = {key: self._fill_entry(entry, (*path, key)) for key, entry in node.entries.items()}
                return replace(node, entries=filled)
            case BrokenNode():
                return node

    def _fill_entry(self, entry: Entry, path: Path) -> Entry:
        return replace(entry, node=self.fill(entry.node, path))

    def _fill_scalar(self, node: ScalarNode, path: Path) -> Node:
        try:
            filled = self._filled(node, path) if "${" in node.text else node
            filled.text.encode("utf-8")
        except _Unfilled as unfilled:
            self.findings.error(node.place, path, unfilled.message, unfilled.mend)
            return BrokenNode(place=node.place)
        except UnicodeEncodeError:
            self.findings.error(node.place, path, "is not Unicode text", "write it, or its variable, in UTF-8")
            return BrokenNode(place=node.place)
        return filled

    def _filled(self, node: ScalarNode, path: Path) -> ScalarNode:
        text, parts, names, values, start = node.text, list[str](), list[str](), list[str](), 0
        while (opening := _OPENING.search(text, start)) is not None:
            parts.append(text[start : opening.start()])
            if opening[0] == "$${":
                parts.append("${")
                start = opening.end()
                continue
            inner, start = _inner(text, opening.end())
            names.append("${" + inner + "}")
            values.append(self._value(inner, path, whole=names[-1] == text))
            parts.append(values[-1])
        return replace(node, text="".join((*parts, text[start:])), variables=tuple(names), substituted=tuple(values))

    def _value(self, inner: str, path: Path, *, whole: bool) -> str:
        try:
            found = self._file(inner[5:]) if inner.startswith("file:") else self._variable(inner)
        except _Unset:
            if self.stand_in is None:
                raise
            self.unset[inner] = None
            found = self.stand_in(path, inner, whole=whole)
        self._room -= len(found)
        if self._room < 0:
            raise _Unfilled(f"makes all variables together longer than {MAX_TOTAL // 1024**2} MiB", "fill in less")
        return found

    def _variable(self, inner: str) -> str:
        match = _NAME.fullmatch(inner)
        if match is None:
            raise _Unfilled("has a `${…}` that is no variable")
        name, default = match[1], match[2]
        found = self.env.get(name)
        if default is not None:
            return found or default
        if found is None or (not found and self.stand_in is not None):  # CI sets to nothing what it must not tell
            raise _Unset(f"needs `{name}`, which is not set", f"set it, or write `${{{name}:-default}}`")
        return found

    def _file(self, written: str) -> str:
        mend = "check the path and who may read it"
        try:
            file = self.folder / written
            self.files.add(file)
            data = _read(file)
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _Unfilled(f"names a file that is not UTF-8 (`{written}`)", "save it as UTF-8") from error
        except OSError as error:
            why = error.strerror or "it cannot be read"
            raise _Unset(f"names a file that cannot be read (`{written}`): {why}", mend) from error
        except ValueError as error:
            raise _Unfilled("names a file by an impossible path", mend) from error
        return text.removesuffix("\r\n") if text.endswith("\r\n") else text.removesuffix("\n")


def _inner(text: str, start: int) -> tuple[str, int]:
    """What stands between the braces, and where the text goes on."""
    end = text.find("}", start)
    if end < 0:
        raise _Unfilled("has a `${` without its `}`")
    if "${" in (inner := text[start:end]):
        raise _Unfilled("has a variable inside a variable")
    return inner, end + 1


def _read(file: FilePath) -> bytes:
    if not stat.S_ISREG(file.stat().st_mode):  # a pipe or device would wait, or never end
        raise OSError(0, "it is not a regular file")
    with file.open("rb") as stream:
        data = stream.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise OSError(0, f"it is larger than {MAX_FILE // 1024} KiB")
    return data
