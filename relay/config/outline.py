"""The file as cross references see it: parts and their texts, whether or not the parts are valid by themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from relay.config.document import START, Entry, ListNode, MapNode, ScalarNode
from relay.config.problems import Path, Place
from relay.model import value


@value
class Text:
    """A scalar with its path. `shown` is what stands in the file, and so never a variable's value."""

    path: Path
    place: Place
    text: str
    shown: str


@dataclass(frozen=True, slots=True)
class Part:
    """A source, sink, route, or one of the single sections."""

    name: str
    path: Path
    entry: Entry

    @property
    def place(self) -> Place:
        """Where its name stands."""
        return self.entry.place

    def has(self, key: str) -> bool:
        """Whether the key is there, be it right or wrong."""
        return isinstance(self.entry.node, MapNode) and key in self.entry.node.entries

    def text(self, key: str) -> Text | None:
        """The key's scalar; None where it is absent, null, broken or something else."""
        if not isinstance(self.entry.node, MapNode):
            return None
        entry = self.entry.node.entries.get(key)
        return None if entry is None else _text((*self.path, key), entry)

    def texts(self, key: str) -> Sequence[Text]:
        """The scalars in the key's list, as far as they can be read."""
        entry = self.entry.node.entries.get(key) if isinstance(self.entry.node, MapNode) else None
        if entry is None or not isinstance(entry.node, ListNode):
            return ()
        found = (_text((*self.path, key, index), item) for index, item in enumerate(entry.node.items))
        return [text for text in found if text is not None]

    def is_whole(self, key: str) -> bool:
        """Whether `texts` are all that the list holds, or the key is absent for sure."""
        if not isinstance(self.entry.node, MapNode):
            return False
        entry = self.entry.node.entries.get(key)
        if entry is None or not isinstance(entry.node, ListNode):
            return entry is None and self.entry.node.complete
        return entry.node.complete and len(self.texts(key)) == len(entry.node.items)


@value
class Section:
    """Parts of one kind."""

    parts: Sequence[Part]
    known: bool
    """Whether these are all of them; False where the section could not be read to its end."""

    def names(self) -> Sequence[str]:
        """As the other parts refer to them."""
        return [part.name for part in self.parts]


@value
class Outline:
    """All parts of a file."""

    gateway: Part
    admin: Part
    retention: Part
    sources: Section
    sinks: Section
    routes: Section


def outline(root: MapNode) -> Outline:
    """What a file consists of. A file without sources has the one named dyte."""
    sources = _section(root, "sources")
    if sources.known and not sources.parts:
        sources = Section(parts=[Part("dyte", ("sources", "dyte"), _NOTHING)], known=True)
    return Outline(
        gateway=_single(root, "gateway"),
        admin=_single(root, "admin"),
        retention=_single(root, "retention"),
        sources=sources,
        sinks=_section(root, "sinks"),
        routes=_section(root, "routes"),
    )


_NOTHING = Entry(place=START, node=MapNode(place=START, entries={}))


def _single(root: MapNode, key: str) -> Part:
    return Part(key, (key,), root.entries.get(key, _NOTHING))


def _section(root: MapNode, key: str) -> Section:
    entry = root.entries.get(key)
    if entry is None:
        return Section(parts=(), known=root.complete)
    if not isinstance(entry.node, ListNode if key == "routes" else MapNode):  # an error of its own
        return Section(parts=(), known=False)
    return Section(parts=list(_parts(key, entry.node)), known=entry.node.complete)


def _parts(key: str, node: MapNode | ListNode) -> Iterator[Part]:
    if isinstance(node, MapNode):
        for name, entry in node.entries.items():
            yield Part(name, (key, name), entry)
        return
    for index, entry in enumerate(node.items):
        yield Part("", (key, index), entry)


def _text(path: Path, entry: Entry) -> Text | None:
    node = entry.node
    if not isinstance(node, ScalarNode) or node.is_null:
        return None
    return Text(path=path, place=node.place, text=node.text, shown=node.source if node.variables else node.text)
