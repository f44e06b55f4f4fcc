"""Reads relay.yaml: bytes, tree, variables, Options, cross references; every step adds to one list of findings."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path as FilePath
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel

from relay.admin import AdminOptions
from relay.config.document import MAX_BYTES, BrokenNode, Entry, ListNode, MapNode, Node, ScalarNode, parse
from relay.config.model import Config, RetentionOptions, StoreUrl
from relay.config.outline import Part, outline
from relay.config.problems import WHOLE_FILE, Findings, InvalidConfig, Path, Problem, listed, shown
from relay.config.reading import read
from relay.config.references import check_references
from relay.config.standins import stand_in
from relay.config.surface import check_surface
from relay.config.variables import Variables
from relay.config.words import NAME_PATTERN, NAME_WORDS
from relay.gateway.options import GatewayOptions, SourceOptions
from relay.model import value
from relay.routing import RouteOptions
from relay.sinks import SinkOptions

_Read: TypeAlias = Callable[[Entry, Path, Findings], Any]


@value
class Report:
    """What a check found. There is a configuration if, and only if, there are no errors."""

    config: Config | None = field(repr=False)
    errors: Sequence[Problem]
    warnings: Sequence[Problem]
    files: frozenset[FilePath] = frozenset()
    """The file itself, and those that its variables name."""


@value
class SinkKind:
    """A sink as far as it can be told without its secrets."""

    type: str
    enabled: bool


@value
class Glance:
    """What a file says, as far as it can be told."""

    config: Config | None = field(default=None, repr=False)
    """All of it, if there is nothing wrong with it."""
    routes: Sequence[RouteOptions] | None = None
    """None: a route has mistakes, or the file cannot be read."""
    sinks: Mapping[str, SinkKind] | None = None
    """By name; None: the file cannot be read."""
    problems: Sequence[Problem] = ()


@value
class Names:
    """What the parts of a file are called."""

    sources: Sequence[str] = ()
    sinks: Sequence[str] = ()
    routes: Sequence[str] = ()


@value
class Rehearsal:
    """A configuration to show what would be sent, and never to send anything."""

    config: Config = field(repr=False)
    unset: Sequence[str]
    """Variables that have no value here, and that something stands in for."""


def load(path: FilePath | str, env: Mapping[str, str]) -> Config:
    """The configuration in a file, with `env` for its variables.

    Raises:
        InvalidConfig: a ConfigError; its message lists every problem, its `problems` are the same as values.
    """
    report = check(path, env)
    if report.config is None:
        raise InvalidConfig(report.errors)
    return report.config


def rehearse(path: FilePath | str, env: Mapping[str, str]) -> Rehearsal:
    """The configuration in a file, for those who send nothing: it needs none of the variables to be set.

    Raises:
        InvalidConfig: the file is wrong, whatever the variables hold.
    """
    file, findings = FilePath(path), Findings(file=str(path))
    variables = Variables(env=env, folder=file.parent, findings=findings, stand_in=stand_in)
    config = _read(file, variables, findings)
    if config is None:
        raise InvalidConfig(findings.errors)
    return Rehearsal(config=config, unset=tuple(variables.unset))


def load_store(path: FilePath | str, env: Mapping[str, str]) -> str:
    """The store's URL in a file, for tools that only look into it: of the variables, it needs those of `store` alone.

    Raises:
        InvalidConfig: the file cannot be read, or its `store` is wrong.
    """
    file, findings = FilePath(path), Findings(file=str(path))
    config = _read(file, Variables(env=env, folder=file.parent, findings=findings), findings, only="store")
    if config is None:
        raise InvalidConfig(findings.errors)
    return config.store.get_secret_value()


def glance(path: FilePath | str, env: Mapping[str, str]) -> Glance:
    """What can be said of a file for those who send nothing: its routes and the kinds of its sinks need no secret, and
    those who look into a store often have none. Reads only; raises nothing."""
    findings = Findings(file=str(path))
    data = read_bytes(FilePath(path), findings)
    tree = None if data is None else parse(data, findings)
    variables = Variables(env=env, folder=FilePath(path).parent, findings=findings)
    root = None if tree is None else variables.fill(tree)
    if not isinstance(root, MapNode) or not root.complete:
        return Glance(problems=check(path, env).errors)
    report = check(path, env)
    return Glance(config=report.config, routes=_whole_routes(root), sinks=_sink_kinds(root), problems=report.errors)


def names(path: FilePath | str) -> Names:
    """What can be named of a file, as far as it can be read: for those who complete words while they are typed. It
    fills in nothing, and raises nothing."""
    findings = Findings(file=str(path))
    data = read_bytes(FilePath(path), findings)
    root = None if data is None else parse(data, findings)
    if not isinstance(root, MapNode):
        return Names()
    whole = outline(root)
    routes = (part.text("name") for part in whole.routes.parts)
    return Names(
        sources=whole.sources.names(),
        sinks=whole.sinks.names(),
        routes=[route.text for route in routes if route is not None],
    )


def _whole_routes(root: MapNode) -> Sequence[RouteOptions] | None:
    """The routes, if nothing is wrong with any of them by itself."""
    entry = root.entries.get("routes")
    routes = [] if entry is None else _routes(entry, ("routes",), Findings(file=""))
    return None if routes is None or None in routes else routes


def _sink_kinds(root: MapNode) -> Mapping[str, SinkKind] | None:
    section = outline(root).sinks
    return {part.name: _sink_kind(part) for part in section.parts} if section.known else None


def _sink_kind(part: Part) -> SinkKind:
    kind, enabled = part.text("type"), part.text("enabled")
    return SinkKind(type=kind.text if kind else "", enabled=enabled is None or enabled.text.lower() != "false")


def check(path: FilePath | str, env: Mapping[str, str]) -> Report:
    """Everything that is wrong with a file, and what is hardly meant. Reads only; raises nothing."""
    file, findings = FilePath(path), Findings(file=str(path))
    variables = Variables(env=env, folder=file.parent, findings=findings)
    config = _read(file, variables, findings)
    errors = findings.errors
    return Report(
        config=None if errors else config,
        errors=errors,
        warnings=findings.warnings,
        files=frozenset({file, *variables.files}),
    )


def _read(file: FilePath, variables: Variables, findings: Findings, *, only: str | None = None) -> Config | None:
    """The configuration in a file, with `only` of one of its parts."""
    data = read_bytes(file, findings)
    if data is None:
        return None
    root = parse(data, findings)
    if only is not None and isinstance(root, MapNode):
        root = replace(root, entries={key: entry for key, entry in root.entries.items() if key == only})
    return _config(root, variables, findings)


def read_bytes(file: FilePath, findings: Findings, *, missing: str = "name the file with -c") -> bytes | None:
    """What the file holds, or a little more than it may; None, and an error, where it cannot be read. `missing` says
    what to do where there is none."""
    try:
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        findings.error(WHOLE_FILE, (), "does not exist", missing)
    except OSError as error:
        why = error.strerror or "unknown reason"
        findings.error(WHOLE_FILE, (), f"cannot be read: {why}", "check the path and who may read it")
    except ValueError:
        findings.error(WHOLE_FILE, (), "is an impossible path", "name the file with -c")
    return None


def _config(tree: Node, variables: Variables, findings: Findings) -> Config | None:
    root = variables.fill(tree)
    if not isinstance(root, MapNode):
        if not isinstance(root, BrokenNode):
            findings.error(root.place, (), "must be a mapping", "start with `sinks:` and `routes:`")
        return None
    settings = {key: setting(key, entry, findings) for key, entry in root.entries.items()}
    whole = outline(root)
    check_references(whole, findings)
    check_surface(whole, findings)
    return None if findings.errors else Config(**settings)


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


def _routes(entry: Entry, path: Path, findings: Findings) -> Any:
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
    "routes": _routes,
}
