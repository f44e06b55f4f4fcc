"""What routes say of an event, as commands print it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.text import Text

from relay.commands.consoles import out
from relay.commands.output import listed, plain
from relay.routing import Decision, Miss, RouteOptions

_LONGEST = 80
"""Characters that are shown of a value that a condition saw."""


def print_decisions(decisions: Sequence[tuple[RouteOptions, Decision]]) -> None:
    """One line for each route: that it matched, or the condition that failed and what it saw."""
    width = max((len(options.name) for options, _ in decisions), default=0)
    for options, decision in decisions:
        said, style = (f"matched, to {listed(options.to)}", "green")
        if not decision.matched:
            said, style = miss(options, decision), "dim"
        out.print(Text.assemble(f"route {options.name:{width}}  ", (plain(said), style)))


def miss(options: RouteOptions, decision: Decision) -> str:
    """The condition that failed, and what it saw."""
    match decision.miss:
        case Miss.SOURCE:
            return f"{decision.detail}, and it takes {listed(options.sources)}"
        case Miss.TYPE:
            return f"{decision.detail}, and it takes {listed(options.events)}"
        case Miss.UNREADABLE:
            return f"unreadable ({decision.detail}): only fallback routes without `where` take it"
        case Miss.NOT_NEEDED:
            return "fallback, and another route matched"
        case _:
            saw = [f"{path} is {_shown(seen)}" for path, seen in decision.saw.items()]
            failed = "fails" if decision.miss is Miss.WHERE_ERROR else "does not hold"
            found = saw if saw and decision.miss is Miss.WHERE else [decision.detail, *saw]
            return f"where {options.where} {failed}: {'; '.join(found)}"


def _shown(seen: object) -> str:
    text = json.dumps(seen, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def decision_json(options: RouteOptions, decision: Decision) -> dict[str, object]:
    """The same for machines."""
    return {
        "route": options.name,
        "matched": decision.matched,
        "to": options.to,
        "miss": decision.miss,
        "detail": decision.detail,
        "where": None if options.where is None else str(options.where),
        "saw": dict(decision.saw),
    }
