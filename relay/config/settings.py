"""What each key of relay.yaml holds, read into the Options of the part that it is for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel

from relay.admin import AdminOptions
from relay.config.document import BrokenNode, Entry, ListNode, MapNode, ScalarNode
from relay.config.model import RetentionOptions, StoreUrl
from relay.config.problems import Findings, Path, listed, shown
from relay.config.reading import read
from relay.config.words import NAME_PATTERN, NAME_WORDS
from relay.gateway.options import GatewayOptions, SourceOptions
from relay.routing import RouteOptions
from relay.sinks import SinkOptions

_Read: TypeAlias = Callable[[Entry, Path, Findings], Any]


def setting(key: str, entry: Entry, findings: Findings) -> Any:
    """What one key of the file holds."""
    reader = _SETTINGS.get(key)
    if reader is None:
        mend = findings.suggest(key, _SETTINGS) or f"known keys: {listed(_SETTINGS, last='and')}"
        findings.error(entry.place, (key,), "unknown key", mend)
        return None
    return reader(entry, (key,), findings)


def _as(annotation: Any) -> _Read:
    def read_as(entry: Entry, path: Path, findings: Findings) -> Any:
        return read(entry, path, annotation, findings)

    return read_as


def _named(read_part: _Read) -> _Read:
    """A mapping of names to parts, each of which is judged by itself."""

    def read_named(entry: Entry, path: Path, findings: Findings) -> Any:
        if not isinstance(entry.node, MapNode):
            return _refuse(entry, path, "must be a mapping", "write `name:` lines under it", findings)
        for name, part in entry.node.entries.items():
            if re.fullmatch(NAME_PATTERN, name) is None:
                findings.error(part.place, (*path, name), *NAME_WORDS)
        return {name: read_part(part, (*path, name), findings) for name, part in entry.node.entries.items()}

    return read_named


def _sources(entry: Entry, path: Path, findings: Findings) -> Any:
    if isinstance(entry.node, MapNode) and not entry.node.entries and entry.node.complete:
        return _refuse(entry, path, "must not be empty", "remove the key for the source `dyte`", findings)
    return _named(_as(SourceOptions))(entry, path, findings)


def routes(entry: Entry, path: Path, findings: Findings) -> Any:
    """The routes; None for each in which there are mistakes, or for all where it is no list."""
    if not isinstance(entry.node, ListNode):
        return _refuse(entry, path, "must be a list", "write `- name: …` lines under it", findings)
    return [read(item, (*path, index), RouteOptions, findings) for index, item in enumerate(entry.node.items)]


def _sink(entry: Entry, path: Path, findings: Findings) -> Any:
    """A sink by its type; without one it cannot be judged further."""
    if not isinstance(entry.node, MapNode):
        return _refuse(entry, path, "must be a mapping", f"write `type:` under it: {_listed_kinds()}", findings)
    kind = entry.node.entries.get("type")
    match kind.node if kind is not None else None:
        case None:
            if entry.node.complete:
                findings.error(entry.place, (*path, "type"), "is missing", f"add `type: …`, one of {_listed_kinds()}")
        case ScalarNode(text=text) if text in _KINDS:
            return read(entry, path, _KINDS[text], findings)
        case ScalarNode(text=text, place=place, source=source):
            mend = findings.suggest(text, _KINDS)
            message = f"there is no sink type `{shown(source)}`, only {_listed_kinds()}"
            findings.error(place, (*path, "type"), message, mend)
        case BrokenNode():
            pass
        case node:
            findings.error(node.place, (*path, "type"), "must be a text", f"write one of {_listed_kinds()}")
    return None


def _refuse(entry: Entry, path: Path, message: str, mend: str, findings: Findings) -> None:
    if not isinstance(entry.node, BrokenNode):
        empty = isinstance(entry.node, ScalarNode) and entry.node.is_null
        findings.error(entry.place, path, f"has no value, and {message}" if empty else message, mend)


def _kinds() -> Mapping[str, type[BaseModel]]:
    """The sink models by their type, read off the union: the only list of kinds."""
    models = get_args(get_args(SinkOptions)[0])
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in models}


def _listed_kinds() -> str:
    return listed(_KINDS)


_KINDS = _kinds()
_SETTINGS: Mapping[str, _Read] = {
    "store": _as(StoreUrl),
    "retention": _as(RetentionOptions),
    "gateway": _as(GatewayOptions),
    "admin": _as(AdminOptions),
    "sources": _sources,
    "sinks": _named(_sink),
    "routes": routes,
}
