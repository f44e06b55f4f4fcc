"""What parts of relay.yaml say of each other: routes of sinks and sources, retention of replay windows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from relay.config.fields import check_fields, fits
from relay.config.model import RetentionOptions
from relay.config.outline import Outline, Part, Section, Text
from relay.config.problems import WHOLE_FILE, Findings, listed, shown
from relay.gateway.options import SourceOptions
from relay.options import format_duration, parse_duration
from relay.vocabulary import KNOWN_TYPES

_TYPES = sorted(KNOWN_TYPES)


def check_references(outline: Outline, findings: Findings) -> None:
    """Errors and warnings about names and numbers that do not fit together."""
    _unique(_texts(outline.routes, "name"), "route", findings)
    for route in outline.routes.parts:
        _known(route.texts("to"), "sink", outline.sinks, findings)
        _known(route.texts("sources"), "source", outline.sources, findings)
        _possible(route.texts("events"), findings)
    check_fields(outline, findings)
    _used(outline, findings)
    _retention(outline, findings)
    for source in outline.sources.parts:
        _organizations(source, findings)


def _texts(section: Section, key: str) -> list[Text]:
    return [text for part in section.parts if (text := part.text(key)) is not None]


def _unique(names: Iterable[Text], kind: str, findings: Findings) -> None:
    first: dict[str, Text] = {}
    for name in names:
        if (known := first.setdefault(name.text, name)) is not name:
            message = f"is the name of the {kind} in line {known.place.line} too"
            findings.error(name.place, name.path, message, "choose another one")


def _known(names: Iterable[Text], kind: str, section: Section, findings: Findings) -> None:
    if not section.known:
        return
    known = dict.fromkeys(section.names())
    for name in names:
        if name.text not in known:
            mend = findings.suggest(name.text, known) or _choices(kind, known)
            findings.error(name.place, name.path, f"there is no {kind} `{shown(name.shown)}`", mend)


def _choices(kind: str, known: Iterable[str]) -> str:
    names = listed(known, last="and")
    return f"there are {names}" if names else f"add it under `{kind}s`"


def _possible(globs: Iterable[Text], findings: Findings) -> None:
    """A type may be one that the sender adds tomorrow, so a glob that matches none of today's is no error."""
    for glob in globs:
        if not fits(glob.text):
            mend = findings.suggest(glob.text, _TYPES) or f"there are {listed(_TYPES, last='and')}"
            findings.warn(glob.place, glob.path, "matches none of the known event types", mend)


def _used(outline: Outline, findings: Findings) -> None:
    if not outline.routes.known or not all(route.is_whole("to") for route in outline.routes.parts):
        return
    if not outline.routes.parts:
        findings.warn(WHOLE_FILE, ("routes",), "is empty: events are stored and go nowhere", "add a route")
        return
    used = {name.text for route in outline.routes.parts for name in route.texts("to")}
    for sink in outline.sinks.parts:
        if sink.name not in used:
            findings.warn(sink.place, sink.path, "no route uses this sink", "name it in the `to` of a route")


def _retention(outline: Outline, findings: Findings) -> None:
    """A mark that is forgotten inside the window lets the same event in twice."""
    kept = _duration(outline.retention, "delivered", RetentionOptions().delivered)
    for source in outline.sources.parts:
        window = _duration(source, "replay_window", SourceOptions().replay_window)
        if kept is None or window is None or kept >= window:
            continue
        at = outline.retention.text("delivered") or source.text("replay_window")
        if at is not None:
            message = f"`retention.delivered` is shorter than `replay_window` of source `{shown(source.name)}`"
            findings.error(at.place, at.path, message, _longer(source, window))


def _longer(source: Part, window: timedelta) -> str:
    window_text = source.text("replay_window")
    from_variable = window_text is not None and window_text.shown != window_text.text
    return "keep events at least as long" + ("" if from_variable else f", {format_duration(window)} or more")


def _duration(part: Part, key: str, default: timedelta) -> timedelta | None:
    text = part.text(key)
    if text is None:
        return None if part.has(key) else default
    try:
        return parse_duration(text.text)
    except ValueError:
        return None


def _organizations(source: Part, findings: Findings) -> None:
    provider = source.text("provider")
    if provider is not None and provider.text != "dyte":
        return
    if source.texts("organizations") and source.is_whole("webhook_ids") and not source.texts("webhook_ids"):
        message = "Dyte's livestream events name no organisation and will be quarantined"
        mend = "add `webhook_ids` to let them in"
        findings.warn(source.place, (*source.path, "organizations"), message, mend)
