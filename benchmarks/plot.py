"""Bars as an SVG, drawn without a library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, NAME_WIDTH, VALUE_WIDTH, ROW, TITLE = 720, 190, 70, 26, 34


@dataclass(frozen=True)
class Bar:
    name: str
    value: float


def draw_bars(*charts: tuple[str, Sequence[Bar]]) -> str:
    """One chart below the other, each on a scale of its own; the first bar of each is ours."""
    parts, y = [], 0
    for title, bars in charts:
        parts.append(f'<text x="0" y="{y + 22}" font-weight="bold">{escape(title)}</text>')
        y += TITLE
        longest = max(bar.value for bar in bars)
        for number, bar in enumerate(bars):
            length = (WIDTH - NAME_WIDTH - VALUE_WIDTH) * bar.value / longest
            colour = "#c2410c" if number == 0 else "#64748b"
            parts += [
                f'<text x="{NAME_WIDTH - 8}" y="{y + 15}" text-anchor="end">{escape(bar.name)}</text>',
                f'<rect x="{NAME_WIDTH}" y="{y}" width="{length:.1f}" height="{ROW - 6}" fill="{colour}"/>',
                f'<text x="{NAME_WIDTH + length + 6:.1f}" y="{y + 15}">{_number(bar.value)}</text>',
            ]
            y += ROW
    style = 'font-family="sans-serif" font-size="13" fill="#334155"'
    frame = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" {style}>'
    return "\n".join([frame, *parts, "</svg>", ""])


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
