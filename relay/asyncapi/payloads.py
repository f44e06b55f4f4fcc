"""The schema of what a sink is sent: the event's own, without what `redact` removes, with hashes for what
`pseudonymize` hides. What `select` makes of it has none that could be known. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.events.schema import Schema, alternatives, model_of, whole
from relay.model import UNREADABLE
from relay.options import LaneOptions

SCHEMAS = "#/components/schemas/"
_PSEUDONYM: Schema = {"type": ["string", "null"], "pattern": "^[0-9a-f]{32}$"}


def payload_schema(event_type: str, options: LaneOptions) -> Schema:
    """The schema of an event's payload as this sink gets it."""
    changes = _changes(options)
    if options.select is not None:
        made = f"What the JMESPath expression `{options.select}` makes of the event. No schema of it is known."
        return {"description": " ".join([*changes, made])}
    if event_type == UNREADABLE:
        passed = "An object without a usable `event`." if changes else "Any bytes, as the sender signed them."
        return {"description": " ".join([passed, *changes])}
    if not changes:
        return {"$ref": SCHEMAS + model_of(event_type).__name__}
    made_of = whole(event_type)
    for path in options.redact:
        _change(made_of, path.split("."), _remove)
    for path in options.pseudonymize:
        _change(made_of, path.split("."), _hide)
    return made_of | {"description": " ".join([made_of["description"], *changes])}


def _changes(options: LaneOptions) -> Sequence[str]:
    redacted = [f"The relay removes {_quoted(options.redact)}."] if options.redact else []
    hidden = [f"A keyed hash stands in the place of {_quoted(options.pseudonymize)}."] if options.pseudonymize else []
    return redacted + hidden


def _quoted(paths: Sequence[str]) -> str:
    return ", ".join(f"`{path}`" for path in paths)


def _change(node: Schema, keys: Sequence[str], change: Callable[[Schema, str], None]) -> None:
    """Change what a path names, as far as the schema knows it."""
    for holder in alternatives(node):
        if len(keys) == 1 and (holder.get("type") == "object" or "properties" in holder):
            change(holder, keys[0])
        elif keys[0] in holder.get("properties", {}):
            _change(holder["properties"][keys[0]], keys[1:], change)


def _remove(holder: Schema, name: str) -> None:
    """It is absent, and must be: also where the sender adds it one day."""
    holder.setdefault("properties", {}).pop(name, None)
    if name in holder.get("required", ()):
        holder["required"] = [each for each in holder["required"] if each != name]
    forbidden = holder.setdefault("not", {"anyOf": []})["anyOf"]
    forbidden.append({"required": [name]})


def _hide(holder: Schema, name: str) -> None:
    field = holder.setdefault("properties", {}).get(name)
    if field is None:
        return  # removed already, or unknown
    about = {key: field[key] for key in ("title", "description") if key in field}
    holder["properties"][name] = about | _PSEUDONYM
