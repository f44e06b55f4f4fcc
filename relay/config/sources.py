"""Reads sources and routes alone, for commands that run where the secrets of sinks are not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath

from relay.config.document import BrokenNode, Entry, ListNode, MapNode, Node, parse
from relay.config.loading import read_bytes
from relay.config.model import Config
from relay.config.outline import outline
from relay.config.problems import Findings, InvalidConfig, Problem
from relay.config.references import check_references
from relay.config.settings import setting
from relay.config.surface import check_surface
from relay.config.variables import Variables
from relay.gateway.options import SourceOptions
from relay.model import value
from relay.routing import RouteOptions

_NEEDED = ("sources", "routes")
_DISPENSABLE = ("public_key", "webhook_ids", "organizations")
"""Keys of a source that are left out where they name a variable that is not set."""
_WORTH_A_WORD = re.compile(r"^routes\[|\.public_url$")


@value
class SourcesAndRoutes:
    """What a file says of what comes in and who takes it, whatever may be wrong with the rest."""

    sources: Mapping[str, SourceOptions]
    routes: Sequence[RouteOptions]
    warnings: Sequence[Problem]
    """Of the routes, and of the addresses that are registered."""


def load_sources(path: FilePath | str, env: Mapping[str, str]) -> SourcesAndRoutes:
    """Sources and routes in a file. No other variables need to be set but those of sources and routes.

    Raises:
        InvalidConfig: the file cannot be read, or its sources or routes are wrong.
    """
    file, findings, unheard = FilePath(path), Findings(file=str(path)), Findings(file=str(path))
    data = read_bytes(file, findings)
    tree = None if data is None else parse(data, findings)
    config = Config()
    if isinstance(tree, MapNode):
        whole = Variables(env=env, folder=file.parent, findings=unheard).fill(tree)
        needed = Variables(env=env, folder=file.parent, findings=findings).fill(_needed(tree, whole))
        config = _config(needed, whole, findings)
    elif tree is not None and not findings.errors:
        findings.error(tree.place, (), "must be a mapping", "start with `sources:` and `routes:`")
    if findings.errors:
        raise InvalidConfig(findings.errors)
    warnings = [problem for problem in findings.warnings if _WORTH_A_WORD.search(problem.key)]
    return SourcesAndRoutes(sources=config.sources, routes=config.routes, warnings=warnings)


def _config(needed: Node, whole: Node, findings: Findings) -> Config:
    """What is `needed` of a file; names that it refers to are looked for in the `whole` of it."""
    assert isinstance(needed, MapNode), "filling keeps the shape"  # noqa: S101
    assert isinstance(whole, MapNode), "filling keeps the shape"  # noqa: S101
    settings = {key: setting(key, entry, findings) for key, entry in needed.entries.items()}
    check_references(outline(whole), findings)
    check_surface(outline(needed), findings)
    return Config() if findings.errors else Config(**settings)


def _needed(tree: MapNode, filled: Node) -> MapNode:
    root = replace(tree, entries={key: tree.entries[key] for key in _NEEDED if key in tree.entries})
    sources = root.entries.get("sources")
    if sources is None or not isinstance(sources.node, MapNode):
        return root
    names = sources.node.entries
    kept = {name: _without_unset(names[name], _child(_child(filled, "sources"), name)) for name in names}
    return replace(
        root, entries={**root.entries, "sources": replace(sources, node=replace(sources.node, entries=kept))}
    )


def _without_unset(source: Entry, filled: Node | None) -> Entry:
    if not isinstance(source.node, MapNode):
        return source
    entries = {
        key: entry
        for key, entry in source.node.entries.items()
        if key not in _DISPENSABLE or not _is_unset(_child(filled, key))
    }
    return replace(source, node=replace(source.node, entries=entries))


def _child(node: Node | None, key: str) -> Node | None:
    entry = node.entries.get(key) if isinstance(node, MapNode) else None
    return None if entry is None else entry.node


def _is_unset(node: Node | None) -> bool:
    if isinstance(node, ListNode):
        return any(_is_unset(item.node) for item in node.items)
    return isinstance(node, BrokenNode)
