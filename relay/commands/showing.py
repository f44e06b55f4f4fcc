"""What a configuration makes of an event, on a terminal and for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.highlighter import JSONHighlighter
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from relay.commands.consoles import out
from relay.commands.decisions import decision_json, print_decisions
from relay.commands.output import counted, fitted_json, listed, plain
from relay.explaining import Explanation, Sending
from relay.gateway.options import SourceOptions
from relay.model import Event, Failure, Quarantine
from relay.options import LaneOptions
from relay.payload import Json
from relay.preview import Preview
from relay.representation import Changes
from relay.sensitive import CONCEALED

_INDENT = 4
_WIDTH = 120
"""Columns of what is no terminal."""


def show(
    explanation: Explanation, *, origin: str, source: SourceOptions | None, sinks: Mapping[str, LaneOptions]
) -> None:
    """Print it all."""
    _show_event(explanation, origin, source)
    out.print()
    print_decisions(explanation.routes)
    if not explanation.sendings:
        out.print()
        out.print(Text("no sink gets it", "yellow"))
    shown: dict[str, Json] = {}
    for sending in explanation.sendings:
        out.print()
        _show_sending(sending, sinks[sending.sink], shown)


def as_json(explanation: Explanation, *, origin: str, unset: Sequence[str]) -> dict[str, object]:
    """The same for machines."""
    event = explanation.event
    return {
        "origin": origin,
        "event": {
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "accepted": event.received_at.isoformat(),
            "meeting": event.meeting,
            "session": event.session,
            "organization": event.organization,
            "stream": event.stream,
            "defect": event.defect,
            "bytes": len(event.body),
        },
        "quarantine": explanation.quarantine,
        "routes": [decision_json(options, decision) for options, decision in explanation.routes],
        "sinks": [_sending_json(sending) for sending in explanation.sendings],
        "unset": unset,
    }


def hides(explanation: Explanation) -> bool:
    """Whether something of it is not shown."""
    previews = [sending.made for sending in explanation.sendings if isinstance(sending.made, Preview)]
    return any(
        preview.variables or preview.payload is None or CONCEALED in f"{preview.facts} {preview.payload}"
        for preview in previews
    )


def quarantined(event: Event, quarantine: Quarantine) -> str:
    """Why no route is asked."""
    if quarantine is Quarantine.WEBHOOK_ID:
        return f"quarantined: the webhook id {event.webhook_id!r} is not in `webhook_ids` of source {event.source}"
    what = "names no organisation" if event.organization is None else f"is of the organisation {event.organization!r}"
    return f"quarantined: it {what}, which is not in `organizations` of source {event.source}"


def refused(failure: Failure) -> str:
    """Why a sink would send nothing."""
    return f"nothing would be sent: {failure.reason}: {failure.detail}"


def _show_event(explanation: Explanation, origin: str, source: SourceOptions | None) -> None:
    event = explanation.event
    said = f"  {origin}, from {event.source}, {counted(len(event.body), 'byte')}"
    out.print(Text.assemble((plain(event.type), "bold"), plain(said)))
    for name, given in (("meeting", event.meeting), ("livestream", event.stream), ("session", event.session)):
        if given is not None:
            _line(f"{name} {given}")
    if event.defect is not None:
        _line(f"its body cannot be read ({event.defect}): only fallback routes without `where` take it", "yellow")
    if explanation.quarantine is not None:
        _line(f"{quarantined(event, explanation.quarantine)}; so it goes nowhere, whatever routes say", "yellow")
    if source is None:
        _line(f"its source {event.source} is not in the configuration any more", "yellow")


def _show_sending(sending: Sending, options: LaneOptions, shown: dict[str, Json]) -> None:
    """`shown`: the payloads that were printed already, by sink."""
    by = "no route sends it there" if sending.route is None else f"by route {sending.route}"
    style = "yellow" if sending.route is None else ""
    out.print(Text.assemble((f"sink {plain(sending.sink)}", "bold"), f"  {sending.kind}  ", (plain(by), style)))
    if not sending.enabled:
        _line("disabled: it waits until the sink is enabled", "yellow")
    if isinstance(sending.made, Failure):
        _line(refused(sending.made), "red")
    _show_changes(sending.changes, options)
    if isinstance(sending.made, Preview):
        _show_preview(sending.made)
        if not sending.made.pictured:
            _show_payload(sending.sink, sending.made, shown)


def _show_changes(changes: Changes, options: LaneOptions) -> None:
    for verb, paths, style in (
        ("redact removed", changes.removed, "yellow"),
        ("pseudonymize hashed", changes.hashed, "yellow"),
        ("not in this event", changes.absent, "dim"),
    ):
        if paths:
            _line(f"{verb} {listed(list(paths))}", style)
    if changes.projected:
        _line(f"select made the payload: {options.select}", "yellow")


def _show_preview(preview: Preview) -> None:
    names = [name for name in preview.facts if not (preview.pictured or name in preview.pictures)]
    _show_pairs({name: preview.facts[name] for name in names})
    for note in preview.notes:
        _line(note, "dim")
    for picture in preview.pictures.values():
        _block(Text(plain(picture, keep="\n")))
    if preview.headers and not preview.pictured:
        _line("headers")
        _show_pairs(preview.headers, indent=2 * _INDENT)


def _show_payload(sink: str, preview: Preview, shown: dict[str, Json]) -> None:
    payload = preview.payload
    if payload is None and preview.body != b"null":
        _line("payload, which is no JSON")
        _block(Text(plain((preview.body or b"").decode("utf-8", "backslashreplace"))), indent=2 * _INDENT)
        return
    same = next((other for other, known in shown.items() if known == payload), None)
    if same is not None:
        _line(f"payload, the same as that of sink {same}")
        return
    shown[sink] = payload
    _line("payload")
    width = (out.width if out.is_terminal else _WIDTH) - 2 * _INDENT
    _block(JSONHighlighter()(Text(fitted_json(payload, width=width))), indent=2 * _INDENT)


def _show_pairs(pairs: Mapping[str, str | None], *, indent: int = _INDENT) -> None:
    """Names and their texts in two columns; on a terminal a long text stays in its own."""
    width = max((len(name) for name in pairs), default=0)
    rows = [
        (Text(f"{plain(name):{width}}", "dim"), Text("none", "dim") if text is None else Text(plain(text)))
        for name, text in pairs.items()
    ]
    if not out.is_terminal:
        for row in rows:
            out.print(Text(" " * indent) + Text("  ").join(row))
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for row in rows:
        grid.add_row(*row)
    out.print(Padding(grid, (0, 0, 0, indent), expand=False), soft_wrap=False)


def _line(text: str, style: str = "") -> None:
    _block(Text(plain(text), style))


def _block(text: Text, *, indent: int = _INDENT) -> None:
    """Lines under their heading. On a terminal a sentence wraps within its indent."""
    if out.is_terminal and "\n" not in text.plain:
        out.print(Padding(text, (0, 0, 0, indent), expand=False), soft_wrap=False)
        return
    for line in text.split("\n"):
        out.print(Text(" " * indent) + line)


def _sending_json(sending: Sending) -> dict[str, object]:
    found: dict[str, object] = {
        "sink": sending.sink,
        "type": sending.kind,
        "route": sending.route,
        "enabled": sending.enabled,
        "changes": asdict(sending.changes),
    }
    made = sending.made
    if isinstance(made, Failure):
        return found | {"refused": asdict(made)}
    body = None if made.body is None else made.body.decode("utf-8", "backslashreplace")
    told = {"headers": dict(made.headers), "payload": made.payload, "body": body, "notes": made.notes}
    return found | {"refused": None} | dict(made.facts) | told | {"variables": made.variables}
