"""Fields that relay.yaml asks events for and that no known event has: nearly always a slip.

A condition on such a field never holds, and what is to be removed by such a path stays. The sender may add fields, so
it is no error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from fnmatch import translate
from functools import cache

from relay.config.outline import Outline, Part, Text
from relay.config.problems import Findings, shown
from relay.expression import Expression, ExpressionError
from relay.vocabulary import KNOWN_FIELDS, has_field

_LONGEST_GLOB = 256
_QUOTES = "a text stands in 'single quotes'; `relay catalog` shows the fields"
_LITERALS = {"true": "write it in `` `backticks` ``", "false": "write it in `` `backticks` ``"}
_CATALOG = "`relay catalog` shows the fields"


def check_fields(outline: Outline, findings: Findings) -> None:
    """Warnings for what looks at, or takes away, what is not there."""
    for route in outline.routes.parts:
        _check_where(route, findings)
    every: frozenset[str] = frozenset().union(*KNOWN_FIELDS.values())
    for sink in outline.sinks.parts:
        for key, kept in (("redact", "removed"), ("pseudonymize", "replaced")):
            for path in sink.texts(key):
                if not has_field(every, path.text):
                    message = f"`{shown(path.shown)}` is no field of any known event: nothing is {kept} by it"
                    findings.warn(
                        path.place, path.path, message, findings.suggest(path.text, sorted(every)) or _CATALOG
                    )


@cache
def fits(glob: str) -> Sequence[str]:
    """The known types that a glob matches."""
    if len(glob) > _LONGEST_GLOB:
        return ()
    matches = re.compile(translate(glob)).match
    return [known for known in KNOWN_FIELDS if matches(known)]


def _check_where(route: Part, findings: Findings) -> None:
    where = route.text("where")
    globs = [glob.text for glob in route.texts("events")] if route.has("events") else ["*"]
    types = {known for glob in globs for known in fits(glob)}
    if where is None or not types or not route.is_whole("events"):
        return
    fields: frozenset[str] = frozenset().union(*(KNOWN_FIELDS[each] for each in types))
    for path in _asked_for(where):
        if path != "null" and not has_field(fields, path):  # no field is null, as whoever writes it wants it
            _warn(where, path, fields, findings)


def _asked_for(where: Text) -> Sequence[str]:
    try:
        return Expression(where.text).fields()
    except ExpressionError:  # told by the route itself
        return ()


def _warn(where: Text, path: str, fields: Collection[str], findings: Findings) -> None:
    name = "a field that" if where.shown != where.text else f"`{shown(path)}`, which"
    near = "" if path.isupper() else findings.suggest(path, sorted(fields))
    mend = _LITERALS.get(path) or near or (_CATALOG if "." in path else _QUOTES)
    findings.warn(where.place, where.path, f"asks for {name} no known event of this route has", mend)
