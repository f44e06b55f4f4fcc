"""Bars with their range, as SVG that is written by hand: readable on light and on dark ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import floor, log10

from bench.measure import Spread
from relay.model import value

_WIDTH, _LEFT, _RIGHT = 760, 210, 110
_TOP, _BAR, _GAP, _BOTTOM = 58, 26, 16, 44
_TICKS = 5
_STYLE = """
text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;fill:#24292f}
.title{font-size:16px;font-weight:600}.small{font-size:11px;fill:#57606a}.value{font-weight:600}
.bar{fill:#8c959f}.ours{fill:#1f6feb}.grid{stroke:#d0d7de}.range{stroke:#24292f;stroke-width:1.5}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.bar{fill:#656c76}.ours{fill:#4493f8}
.grid{stroke:#3d444d}.range{stroke:#e6edf3}}"""


@value
class Bar:
    """One figure."""

    label: str
    spread: Spread
    ours: bool
    """Whether it is the relay's."""


@value
class Chart:
    """One picture."""

    name: str
    """Of its file."""
    title: str
    unit: str
    bars: Sequence[Bar]

    def svg(self) -> str:
        """The picture."""
        height = _TOP + len(self.bars) * (_BAR + _GAP) + _BOTTOM
        inner = "\n".join([*self._axis(height), *self._bars(), *self._frame(height)])
        box = f'viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
        summary = "; ".join(f"{bar.label}: {_number(bar.spread.median)} {self.unit}" for bar in self.bars)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{escape(self.title)}. '
            f'{escape(summary)}">\n<style>{_STYLE}</style>\n{inner}\n</svg>\n'
        )

    def _scale(self) -> float:
        """The figure at the right end."""
        step = _step(max(bar.spread.high for bar in self.bars) / _TICKS)
        count = 1
        while step * count < max(bar.spread.high for bar in self.bars):
            count += 1
        return step * count

    def _x(self, figure: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * figure / self._scale()

    def _axis(self, height: int) -> Iterator[str]:
        step, figure = _step(max(bar.spread.high for bar in self.bars) / _TICKS), 0.0
        while figure <= self._scale() * 1.0001:
            x = self._x(figure)
            yield f'<path class="grid" d="M{x:.1f} {_TOP - 8}V{height - _BOTTOM + 4}"/>'
            yield f'<text class="small" x="{x:.1f}" y="{height - 24}" text-anchor="middle">{_number(figure)}</text>'
            figure += step

    def _bars(self) -> Iterator[str]:
        for row, bar in enumerate(self.bars):
            y, middle = _TOP + row * (_BAR + _GAP), _TOP + row * (_BAR + _GAP) + _BAR / 2
            spread, ours = bar.spread, "ours" if bar.ours else "bar"
            yield f'<text x="{_LEFT - 10}" y="{middle + 4.5}" text-anchor="end">{escape(bar.label)}</text>'
            width = self._x(spread.median) - _LEFT
            yield f'<rect class="{ours}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
            low, high = self._x(spread.low), self._x(spread.high)
            ends = f"M{low:.1f} {middle - 5}v10M{high:.1f} {middle - 5}v10"
            yield f'<path class="range" d="M{low:.1f} {middle}H{high:.1f}{ends}"/>'
            x = max(high, self._x(spread.median)) + 8
            yield f'<text class="value" x="{x:.1f}" y="{middle + 4.5}">{_number(spread.median)}</text>'

    def _frame(self, height: int) -> Iterator[str]:
        yield f'<text class="title" x="16" y="28">{escape(self.title)}</text>'
        words = f"{self.unit}: median of the rounds, and their range"
        yield f'<text class="small" x="{_WIDTH - 16}" y="{height - 6}" text-anchor="end">{escape(words)}</text>'


def _step(least: float) -> float:
    """A round number of at least this."""
    power = 10.0 ** floor(log10(least)) if least > 0 else 1.0
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 10 or figure == 0 else f"{figure:.2g}"
