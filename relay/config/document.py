"""YAML into a tree that remembers its lines: the strict part of YAML 1.2 that a configuration needs, and no more.

Read from PyYAML's events, so that nothing is constructed, shared or merged before it was judged. What is refused is
reported and left out; the rest of the file is still read and checked. Scalars keep the text that was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from typing import TypeAlias

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from relay.config.problems import WHOLE_FILE, Findings, Path, Place, shown
from relay.config.syntax import explain
from relay.model import value

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
START = Place(line=1, column=1)


@value
class ScalarNode:
    """A text, with the way in which it was written."""

    place: Place
    text: str = field(repr=False)
    """What it stands for, variables filled in."""
    source: str
    """What is written in the file; of a text with variables this is what a message may show."""
    plain: bool
    """Written without quotes: only such a text can stand for null."""
    variables: tuple[str, ...] = ()
    """What was filled in, as written: `${NAME}`."""
    substituted: tuple[str, ...] = field(default=(), repr=False)
    """The values that were filled in; no message may show them."""

    @property
    def is_null(self) -> bool:
        """Whether nothing stands here; https://yaml.org/spec/1.2.2/#core-schema."""
        return self.plain and not self.variables and self.text in ("", "~", "null", "Null", "NULL")


@value
class BrokenNode:
    """Something that was refused, and reported: whatever else seems wrong with it is not worth a word."""

    place: Place


@value
class Entry:
    """A value and where it is named: the place of its key, or its own where it has none."""

    place: Place
    node: Node


@value
class ListNode:
    """A list."""

    place: Place
    items: tuple[Entry, ...]
    complete: bool = True
    """False where the file could not be read to the end of it: nothing can be called missing."""


@value
class MapNode:
    """A mapping; its keys are texts."""

    place: Place
    entries: dict[str, Entry]
    complete: bool = True


Node: TypeAlias = ScalarNode | ListNode | MapNode | BrokenNode


def parse(data: bytes, findings: Findings) -> Node:
    """The tree of a file's bytes; what is refused goes to the findings. An empty file is an empty mapping."""
    if len(data) > MAX_BYTES:
        findings.error(
            WHOLE_FILE, (), f"is larger than {MAX_BYTES // 1024} KiB", "split it, or move templates to files"
        )
        return BrokenNode(place=START)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        findings.error(Place(line=line, column=1), (), "is not UTF-8", "save the file as UTF-8")
        return BrokenNode(place=START)
    return _Builder(text, findings).document()


class _Builder:
    """Takes events one by one and builds nodes; recursion is bounded by MAX_DEPTH."""

    def __init__(self, text: str, findings: Findings) -> None:
        # The pure Python loader everywhere: libyaml words its errors differently, and the file is small.
        self._events: Iterator[Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._text = text
        self._findings = findings
        self._last = START
        self._stopped = False

    def document(self) -> Node:
        self._next()  # the stream's start
        if not isinstance(self._next(), DocumentStartEvent):
            return MapNode(place=START, entries={}, complete=not self._stopped)
        root = self._node(self._next(), ())
        self._next()  # the document's end
        if isinstance(self._next(), DocumentStartEvent):
            self._findings.error(self._last, (), "starts a second document", "remove the `---`: one file, one document")
        if isinstance(root, ScalarNode) and root.is_null:
            return MapNode(place=START, entries={}, complete=not self._stopped)
        return root

    def _next(self) -> Event | None:
        """The next event; None for ever after the end or a mistake that makes the rest unreadable."""
        if self._stopped:
            return None
        try:
            event = next(self._events)
        except StopIteration:
            self._stopped = True
            return None
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # chr() of an escape beyond Unicode
            self._stopped = True
            self._report(error)
            return None
        if event.start_mark is not None:
            self._last = Place(line=event.start_mark.line + 1, column=event.start_mark.column + 1)
        return event

    def _report(self, error: Exception) -> None:
        flaw = explain(error, self._text)
        place = self._last if flaw.line is None else Place(line=flaw.line, column=flaw.column)
        self._findings.error(place, (), flaw.message, flaw.mend)

    def _node(self, event: Event | None, path: Path) -> Node:
        if isinstance(event, NodeEvent):
            self._refuse_extras(event, path)
        match event:
            case ScalarEvent():
                return ScalarNode(place=self._last, text=event.value, source=event.value, plain=_is_plain(event))
            case SequenceStartEvent() | MappingStartEvent() if len(path) >= MAX_DEPTH:
                return self._too_deep(path)
            case SequenceStartEvent():
                return self._list(self._last, path)
            case MappingStartEvent():
                return self._map(self._last, path)
            case _:
                return BrokenNode(place=self._last)

    def _too_deep(self, path: Path) -> Node:
        mend = "what follows was not read"
        self._findings.error(self._last, path[:3], f"is nested deeper than {MAX_DEPTH}", mend)
        self._stopped = True
        return BrokenNode(place=self._last)

    def _refuse_extras(self, event: NodeEvent, path: Path) -> None:
        if isinstance(event, AliasEvent):
            self._refuse(path, f"uses an alias (`*{shown(event.anchor or '')}`)", "write the value out")
        elif event.anchor is not None:
            self._refuse(path, f"has an anchor (`&{shown(event.anchor)}`)", "remove it; there are no aliases")
        if getattr(event, "tag", None) is not None:
            self._refuse(path, "has a tag (`!…`)", "remove it, or quote the text")

    def _refuse(self, path: Path, message: str, mend: str) -> None:
        self._findings.error(self._last, path, message, mend)

    def _list(self, place: Place, path: Path) -> ListNode:
        items: list[Entry] = []
        while isinstance(event := self._next(), NodeEvent):
            start = self._last
            items.append(Entry(place=start, node=self._node(event, (*path, len(items)))))
        if event is None and items:
            items[-1] = _cut(items[-1])
        return ListNode(place=place, items=tuple(items), complete=event is not None)

    def _map(self, place: Place, path: Path) -> MapNode:
        entries: dict[str, Entry] = {}
        while isinstance(event := self._next(), NodeEvent):
            start = self._last
            key = self._key(event, path)
            known = entries.get(key) if key is not None else None
            if known is not None:
                self._findings.error(
                    start, (*path, key or ""), f"is given twice, first in line {known.place.line}", "keep one of them"
                )
            node = self._node(self._next(), (*path, key or "?"))
            if key is not None and known is None:
                entries[key] = Entry(place=start, node=node)
        if event is None and entries:
            last = next(reversed(entries))
            entries[last] = _cut(entries[last])
        return MapNode(place=place, entries=entries, complete=event is not None)

    def _key(self, event: NodeEvent, path: Path) -> str | None:
        node = self._node(event, (*path, "?"))
        if not isinstance(node, ScalarNode):
            if not isinstance(node, BrokenNode):
                self._findings.error(node.place, path, "has a key that is no text", "write `key: value`")
            return None
        if node.plain and node.text == "<<":
            self._findings.error(node.place, path, "uses a merge key (`<<`)", "write the keys out")
            return None
        return node.text


def _cut(entry: Entry) -> Entry:
    """The last value before the file became unreadable: a text may lack its end, and is not worth a word."""
    return replace(entry, node=BrokenNode(place=entry.place)) if isinstance(entry.node, ScalarNode) else entry


def _is_plain(event: ScalarEvent) -> bool:
    return event.style is None
