"""What a route test expects of an event, against what became of it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import TypeAlias

from relay.model import Failure, value
from relay.payload import Json
from relay.preview import Preview

HOLDS, HOLDS_NOT = "~", "!~"
"""Begin an expected text: what follows must stand somewhere in the text, or nowhere."""

Texts: TypeAlias = Sequence[str | None]
"""All of them must hold; None: there must be no such text."""


@value
class Wanted:
    """What a sink is expected to be sent; what is not named does not matter."""

    facts: Mapping[str, Texts] = field(default_factory=dict)
    headers: Mapping[str, Texts] = field(default_factory=dict)
    payload: Json = None
    """What the payload must hold, at least; None: anything."""
    refused: Texts = ()
    """Why it is expected that nothing would be sent."""


@value
class Expected:
    """What is expected of an event; what is None or empty does not matter."""

    routes: Sequence[str] | None = None
    """Exactly these match."""
    to: Sequence[str] | None = None
    """Exactly these sinks get it."""
    sinks: Mapping[str, Wanted] = field(default_factory=dict)
    """Each of these gets it, and in it what is wanted."""
    not_sinks: Sequence[str] = ()
    """None of these gets it."""
    nowhere: bool = False
    """No sink gets it, for whatever reason."""


@value
class RouteSaid:
    """What a route said of the event."""

    to: Sequence[str]
    miss: str = ""
    """Why it did not match; empty where it did."""


@value
class Sent:
    """What a sink would be sent."""

    true: Preview
    """What is judged."""
    shown: Preview
    """The same as it may be printed."""


@value
class Outcome:
    """What became of the event."""

    routes: Mapping[str, RouteSaid]
    sinks: Mapping[str, Sent | Failure]
    """What each sink that gets it would be sent, or why that fails."""
    quarantine: str = ""
    """Why no route was asked; empty where they were."""


@value
class Mismatch:
    """One expectation that does not hold."""

    what: str
    """For instance `sinks.oncall.text`."""
    expected: str
    actual: str
    why: str = ""
    at: int | None = None
    """Where the two texts begin to differ, if it helps to know."""


def judge(expected: Expected, outcome: Outcome) -> Sequence[Mismatch]:
    """All that does not hold, in the order in which it is written down."""
    return [
        *_routes(expected, outcome),
        *_sinks(expected, outcome),
        *(found for sink, wanted in expected.sinks.items() for found in _message(sink, wanted, outcome)),
    ]


def holds(wanted: str | None, actual: str | None) -> bool:
    """Whether one text is as it is wanted."""
    if wanted is None or actual is None:
        return wanted is actual or (wanted or "").startswith(HOLDS_NOT)
    if wanted.startswith(HOLDS_NOT):
        return wanted.removeprefix(HOLDS_NOT).strip() not in actual
    if wanted.startswith(HOLDS):
        return wanted.removeprefix(HOLDS).strip() in actual
    return wanted == actual


def _routes(expected: Expected, outcome: Outcome) -> Iterator[Mismatch]:
    matched = [name for name, said in outcome.routes.items() if not said.miss]
    if expected.routes is not None and set(expected.routes) != set(matched):
        missed = (f"{name}: {outcome.routes[name].miss}" for name in expected.routes if name not in matched)
        yield Mismatch(what="routes", expected=_listed(expected.routes), actual=_listed(matched), why="\n".join(missed))


def _sinks(expected: Expected, outcome: Outcome) -> Iterator[Mismatch]:
    got, actual = list(outcome.sinks), _listed(list(outcome.sinks))
    if expected.nowhere and got:
        yield Mismatch(what="nowhere", expected="no sink gets it", actual=actual, why=_why_not((), outcome))
    if expected.to is not None and set(expected.to) != set(got):
        missed = [sink for sink in expected.to if sink not in got]
        yield Mismatch(what="to", expected=_listed(expected.to), actual=actual, why=_why_not(missed, outcome))
    if unwanted := [sink for sink in expected.not_sinks if sink in got]:
        by = (
            f"{sink}: by route {name}"
            for sink in unwanted
            for name, said in outcome.routes.items()
            if sink in said.to and not said.miss
        )
        yield Mismatch(
            what="not_sinks", expected=f"not to {_listed(unwanted)}", actual=f"to {actual}", why="\n".join(by)
        )


def _why_not(sinks: Sequence[str], outcome: Outcome) -> str:
    """Why sinks do not get it: what the routes said that lead there."""
    if outcome.quarantine:
        return outcome.quarantine
    return "\n".join(
        f"{sink}: route {name}: {said.miss}" if leads else f"{sink}: no route leads there"
        for sink in sinks
        for name, said, leads in _leading(sink, outcome)
    )


def _leading(sink: str, outcome: Outcome) -> Sequence[tuple[str, RouteSaid, bool]]:
    leading = [(name, said, True) for name, said in outcome.routes.items() if sink in said.to]
    return leading or [("", RouteSaid(to=()), False)]


def _message(sink: str, wanted: Wanted, outcome: Outcome) -> Iterator[Mismatch]:
    what, made = f"sinks.{sink}", outcome.sinks.get(sink)
    if made is None:
        yield Mismatch(what=what, expected="it gets the event", actual="it does not", why=_why_not([sink], outcome))
    elif isinstance(made, Sent):
        yield from _sent(what, wanted, made.true, made.shown)
    else:
        yield from _refused(what, wanted, f"{made.reason}: {made.detail}")


def _refused(what: str, wanted: Wanted, refusal: str) -> Iterator[Mismatch]:
    if wanted.refused:
        yield from _texts(f"{what}.refused", wanted.refused, refusal, refusal)
    else:
        yield Mismatch(what=what, expected="it is sent", actual="nothing would be sent", why=refusal)


def _sent(what: str, wanted: Wanted, true: Preview, shown: Preview) -> Iterator[Mismatch]:
    if wanted.refused:
        yield Mismatch(what=f"{what}.refused", expected=" and ".join(map(_told, wanted.refused)), actual="it is sent")
    for name, texts in wanted.facts.items():
        yield from _texts(f"{what}.{name}", texts, true.facts.get(name), shown.facts.get(name))
    headers, shown_headers = _lower(true.headers), _lower(shown.headers)
    for name, texts in wanted.headers.items():
        key = name.lower()
        yield from _texts(f"{what}.headers.{name}", texts, headers.get(key), shown_headers.get(key))
    if wanted.payload is not None:
        yield from _payload(f"{what}.payload", wanted.payload, true.payload, shown.payload)


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): text for name, text in headers.items()}


def _texts(what: str, texts: Texts, actual: str | None, shown: str | None) -> Iterator[Mismatch]:
    for text in texts:
        if not holds(text, actual):
            at = _difference(text or "", actual) if actual is not None and actual == shown else None
            yield Mismatch(what=what, expected=_told(text), actual=_named(shown), at=at)


def _difference(expected: str, actual: str) -> int | None:
    """Where two texts part that begin alike, and stand in a line each."""
    pairs = zip(expected, actual, strict=False)
    same = next((index for index, (one, other) in enumerate(pairs) if one != other), min(len(expected), len(actual)))
    return same if same and "\n" not in expected + actual else None


def _told(wanted: str | None) -> str:
    if wanted is None:
        return "nothing"
    if wanted.startswith(HOLDS_NOT):
        return f"a text without {wanted.removeprefix(HOLDS_NOT).strip()!r}"
    if wanted.startswith(HOLDS):
        return f"a text with {wanted.removeprefix(HOLDS).strip()!r} in it"
    return wanted


def _payload(what: str, wanted: Json, actual: Json, shown: Json) -> Iterator[Mismatch]:
    """A mapping must be there with at least its keys (null: the key is absent or null), a list whole."""
    match wanted, actual:
        case dict(), dict() | None:
            for key, inner in wanted.items():
                yield from _payload(f"{what}.{key}", inner, (actual or {}).get(key), _inner(shown, key))
        case list(), list() if len(wanted) == len(actual):
            for index, (inner, found) in enumerate(zip(wanted, actual, strict=True)):
                yield from _payload(f"{what}[{index}]", inner, found, _inner(shown, index))
        case str(), str() | None:
            if not holds(wanted, actual):
                yield Mismatch(what=what, expected=_told(wanted), actual=_named(shown))
        case _ if not _same(wanted, actual):
            yield Mismatch(what=what, expected=_json(wanted), actual=_json(shown))


def _inner(shown: Json, key: str | int) -> Json:
    """What is shown of a part; where the whole is not shown, that."""
    match shown:
        case dict():
            return shown.get(str(key))
        case list() if isinstance(key, int) and key < len(shown):
            return shown[key]
        case _:
            return shown


def _same(one: Json, other: Json) -> bool:
    """Python holds true for 1; JSON does not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _named(shown: Json) -> str:
    return shown if isinstance(shown, str) else _json(shown)


def _json(given: Json) -> str:
    return "nothing" if given is None else json.dumps(given, ensure_ascii=False)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
