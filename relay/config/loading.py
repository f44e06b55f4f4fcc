"""Reads relay.yaml: bytes, tree, variables, Options, cross references; every step adds to one list of findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path as FilePath

from relay.config.document import MAX_BYTES, BrokenNode, MapNode, Node, parse
from relay.config.model import Config
from relay.config.outline import Part, outline
from relay.config.problems import WHOLE_FILE, Findings, InvalidConfig, Problem
from relay.config.references import check_references
from relay.config.settings import routes as read_routes
from relay.config.settings import setting
from relay.config.standins import stand_in
from relay.config.surface import check_surface
from relay.config.variables import Variables
from relay.model import value
from relay.routing import RouteOptions


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
    routes = [] if entry is None else read_routes(entry, ("routes",), Findings(file=""))
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
