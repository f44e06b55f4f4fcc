"""Reads a mapping key by key where there is no Options model: what is wrong goes to the findings, with its place."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from relay.config.document import BrokenNode, Entry, ListNode, MapNode, Node, ScalarNode
from relay.config.problems import Findings, Path, Place, listed, shown
from relay.config.reading import number_in, truth_in
from relay.payload import Json


class Keys:
    """The keys of one mapping."""

    def __init__(self, entry: Entry, node: MapNode, path: Path, findings: Findings) -> None:
        self._entry = entry
        self._entries = node.entries
        self._complete = node.complete
        self._path = path
        self._findings = findings

    @classmethod
    def of_node(cls, node: MapNode, path: Path, known: Collection[str], findings: Findings) -> Keys:
        """The keys of a whole file."""
        keys = cls(Entry(place=node.place, node=node), node, path, findings)
        keys.only(*known)
        return keys

    def names(self) -> Sequence[str]:
        """All keys, known or not."""
        return list(self._entries)

    def has(self, key: str) -> bool:
        """Whether the key is there, be it right or wrong."""
        return key in self._entries

    def place(self, key: str) -> Place:
        """Where the key stands, or what holds it."""
        return self._entries[key].place if key in self._entries else self._entry.place

    def error(self, key: str | None, message: str, mend: str) -> None:
        """Say what is wrong with a key, or with the whole."""
        place = self._entry.place if key is None else self.place(key)
        self._findings.error(place, self._path if key is None else (*self._path, key), message, mend)

    def only(self, *known: str) -> None:
        """Refuse other keys."""
        for key in self._entries:
            if key not in known:
                mend = self._findings.suggest(key, known) or f"known keys: {listed(known, last='and')}"
                self.error(key, "unknown key", mend)

    def known_keys(self, what: str, known: Collection[str]) -> None:
        """Refuse names of what is not there."""
        for key in self._entries:
            self._is_known(self._entries[key].place, (*self._path, key), key, what, known)

    def mapping(self, key: str, *known: str, needed: str = "") -> Keys | None:
        """The mapping at a key; with `known`, other keys in it are errors."""
        entry = self._found(key, needed)
        if entry is None:
            return None
        if not isinstance(entry.node, MapNode):
            self._refuse(entry.node, key, "must be a mapping", "write `key: value` lines under it")
            return None
        keys = Keys(entry, entry.node, (*self._path, key), self._findings)
        if known:
            keys.only(*known)
        return keys

    def items(self, key: str) -> Sequence[Keys | None]:
        """The mappings in a list; None for each that is none."""
        node = self._list(key)
        if node is None:
            return []
        return [self._item(entry, (*self._path, key, index)) for index, entry in enumerate(node.items)]

    def text(self, key: str, *, needed: str = "") -> str | None:
        """The text at a key."""
        entry = self._found(key, needed)
        return None if entry is None else self._text(entry, (*self._path, key))

    def texts(self, key: str) -> Sequence[str] | None:
        """The texts in a list."""
        node = self._list(key)
        if node is None:
            return None
        found = [self._text(entry, (*self._path, key, index)) for index, entry in enumerate(node.items)]
        return [text for text in found if text is not None]

    def known(self, key: str, what: str, known: Collection[str]) -> str | None:
        """A name of something that is there."""
        text = self.text(key)
        if text is None or not self._is_known(self.place(key), (*self._path, key), text, what, known):
            return None
        return text

    def known_list(self, key: str, what: str, known: Collection[str]) -> Sequence[str] | None:
        """Names of what is there."""
        node = self._list(key)
        if node is None:
            return None
        names = []
        for index, entry in enumerate(node.items):
            path = (*self._path, key, index)
            name = self._text(entry, path)
            if name is not None and self._is_known(entry.place, path, name, what, known):
                names.append(name)
        return names

    def truth(self, key: str) -> bool:
        """True or false; false where the key is not."""
        entry = self._entries.get(key)
        found = truth_in(entry.node.text) if entry is not None and isinstance(entry.node, ScalarNode) else None
        if entry is not None and found is None:
            self._refuse(entry.node, key, "must be true or false", "")
        return bool(found)

    def json(self, key: str) -> Json:
        """What stands at a key, as JSON."""
        entry = self._entries.get(key)
        return None if entry is None else json_of(entry.node)

    def all_json(self) -> Mapping[str, Json]:
        """All of it, as JSON."""
        return {key: json_of(entry.node) for key, entry in self._entries.items()}

    def expected_texts(self, key: str) -> Sequence[str | None]:
        """One text or a list of them, as they are written; null is none."""
        entry = self._entries[key]
        entries = entry.node.items if isinstance(entry.node, ListNode) else (entry,)
        return [
            None if isinstance(each.node, ScalarNode) and each.node.is_null else self._text(each, (*self._path, key))
            for each in entries
        ]

    def _found(self, key: str, needed: str) -> Entry | None:
        entry = self._entries.get(key)
        if entry is None and needed and self._complete:
            self.error(key, "is missing", f"add `{key}: {needed}`")
        return entry

    def _item(self, entry: Entry, path: Path) -> Keys | None:
        if isinstance(entry.node, MapNode):
            return Keys(entry, entry.node, path, self._findings)
        if not isinstance(entry.node, BrokenNode):
            self._findings.error(entry.place, path, "must be a mapping", "write `- name: …`")
        return None

    def _list(self, key: str) -> ListNode | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not isinstance(entry.node, ListNode):
            self._refuse(entry.node, key, "must be a list", "write `[one, two]`, or `- one` lines under it")
            return None
        return entry.node

    def _text(self, entry: Entry, path: Path) -> str | None:
        match entry.node:
            case ScalarNode() if not entry.node.is_null and entry.node.text:
                return entry.node.text
            case BrokenNode():
                return None
            case node:
                self._findings.error(node.place, path, "must be a text, and not empty")
                return None

    def _refuse(self, node: Node, key: str, message: str, mend: str) -> None:
        if not isinstance(node, BrokenNode):
            self.error(key, message, mend)

    def _is_known(self, place: Place, path: Path, name: str, what: str, known: Collection[str]) -> bool:
        if name in known:
            return True
        mend = self._findings.suggest(name, known) or f"there are {listed(known, last='and') or 'none'}"
        self._findings.error(place, path, f"there is no {what} `{shown(name)}`", mend)
        return False


def json_of(node: Node) -> Json:
    """A node as JSON: what is written without quotes may be a number, true, false or null."""
    match node:
        case ScalarNode():
            return _scalar(node)
        case ListNode():
            return [json_of(entry.node) for entry in node.items]
        case MapNode():
            return {key: json_of(entry.node) for key, entry in node.entries.items()}
        case BrokenNode():
            return None


def _scalar(node: ScalarNode) -> Json:
    if node.is_null:
        return None
    if not node.plain:
        return node.text
    truth, number = truth_in(node.text), number_in(node.text)
    if truth is not None:
        return truth
    return node.text if number is None or not math.isfinite(number) else number
