"""What a scenario finds: a table for people, figures for machines, targets, and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.charts import Bar, Chart
from bench.contenders import Contender
from bench.measure import Spread, Turn
from relay.model import value


@value
class Target:
    """One thing that is wanted, and what was found."""

    what: str
    wanted: str
    found: str
    met: bool | None
    """None: it was not measured."""

    @classmethod
    def at_least(cls, what: str, wanted: float, found: float, unit: str = "") -> Target:
        """More is better."""
        return cls(what=what, wanted=f"≥ {_text(wanted)}{unit}", found=_text(found) + unit, met=found >= wanted)

    @classmethod
    def at_most(cls, what: str, wanted: float, found: float, unit: str = "") -> Target:
        """Less is better."""
        return cls(what=what, wanted=f"≤ {_text(wanted)}{unit}", found=_text(found) + unit, met=found <= wanted)


@value
class Table:
    """A further table of a scenario."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@value
class Section:
    """What one scenario found."""

    name: str
    title: str
    text: str
    """What was measured, in a sentence or two."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target]
    charts: Sequence[Chart]
    raw: Any
    """Every single figure, as JSON takes it."""
    notes: Sequence[str] = ()
    more: Sequence[Table] = ()


THROUGHPUT = ("", "events/s (median)", "lowest to highest", "CPU µs per event", "server at work", "load's core")
_DISTURBED = 0.08
"""Of the server's core: so much the system takes for itself."""


def by_contender(turns: Iterable[Turn]) -> Mapping[str, Sequence[Turn]]:
    """The turns of each, in order of the rounds."""
    found: dict[str, list[Turn]] = {}
    for turn in turns:
        found.setdefault(turn.contender, []).append(turn)
    return found


def throughput_row(contender: Contender, turns: Sequence[Turn]) -> Sequence[str]:
    """A row under `THROUGHPUT`."""
    rate, cpu = Spread.of(turn.per_second for turn in turns), Spread.of(turn.cpu_us for turn in turns)
    return (
        contender.label,
        f"{rate.median:,.0f}",
        f"{rate.low:,.0f} to {rate.high:,.0f}",
        f"{cpu.median:,.0f}",
        f"{Spread.of(turn.own_share for turn in turns).median:.0%}",
        f"{Spread.of(turn.load_core for turn in turns).median:.0%}",
    )


def throughput_chart(name: str, title: str, contenders: Sequence[Contender], turns: Sequence[Turn]) -> Chart:
    """Bars of events a second."""
    found = by_contender(turns)
    bars = [
        Bar(
            label=contender.label,
            spread=Spread.of(turn.per_second for turn in found[contender.name]),
            ours=contender.name.startswith("relay"),
        )
        for contender in contenders
    ]
    return Chart(name=name, title=title, unit="events/s", bars=bars)


def oddities(turns: Sequence[Turn]) -> Sequence[str]:
    """What must be said beside the figures: answers that were no good, duplicates, and what disturbed them."""
    odd = [
        f"{turn.contender}, round {turn.round}: {turn.refused} refused, {turn.broken} broken or too late, "
        f"{turn.duplicates} taken for duplicates"
        for turn in turns
        if turn.refused or turn.broken or turn.duplicates
    ]
    disturbed = [turn for turn in turns if turn.server_core - turn.own_share > _DISTURBED]
    if disturbed:
        worst = max(turn.server_core - turn.own_share for turn in disturbed)
        odd.append(
            f"**In {len(disturbed)} turns others were at work on the server's core, for up to {worst:.0%} of the time: "
            "its throughput would be higher.**"
        )
    return odd


def ratios(found: Mapping[str, Sequence[Turn]], one: str, other: str) -> Spread:
    """Throughput of one by that of the other, round by round."""
    pairs = zip(found[one], found[other], strict=True)
    return Spread.of(first.per_second / second.per_second for first, second in pairs)


def _text(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"
