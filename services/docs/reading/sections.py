"""A section is where a symbol or heading begins; it reaches to the next one. Long sections become windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

WINDOW_LINES = 40
LONGEST_SECTION = 60


@dataclass(frozen=True, slots=True)
class Section:
    """A symbol or heading path and the line (1-based) where it begins."""

    start_line: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Span:
    """Lines start_line..end_line (1-based, inclusive) under one symbol."""

    start_line: int
    end_line: int
    symbol: str


def spans_of(sections: Sequence[Section], lines: Sequence[str]) -> Iterator[Span]:
    """The sections as spans of at most 60 lines, without the blank lines around them.

    `sections` are in order; lines before the first one form a section without a symbol.
    """
    for span in _joined(_spans([Section(1, ""), *sections], lines)):
        yield from _windows(span, lines)


def _spans(sections: Sequence[Section], lines: Sequence[str]) -> Iterator[Span]:
    """One span for each section that is not blank; of sections that begin on one line the last counts."""
    starts = sorted({section.start_line: section.symbol for section in sections}.items())
    ends = [start_line - 1 for start_line, _ in starts[1:]] + [len(lines)]
    for (start_line, symbol), end_line in zip(starts, ends, strict=True):
        span = _trimmed(Span(start_line, end_line, symbol), lines)
        if span is not None:
            yield span


def _joined(spans: Iterable[Span]) -> Iterator[Span]:
    """Neighbours with one symbol become one span, overloads and properties for example."""
    for symbol, group in groupby(spans, key=lambda span: span.symbol):
        neighbours = list(group)
        yield Span(neighbours[0].start_line, neighbours[-1].end_line, symbol)


def _windows(span: Span, lines: Sequence[str]) -> Iterator[Span]:
    start_line = span.start_line
    while span.end_line - start_line + 1 > LONGEST_SECTION:
        cut = _best_cut(start_line, lines)
        window = _trimmed(Span(start_line, cut, span.symbol), lines)
        if window is not None:
            yield window
        start_line = cut + 1
    rest = _trimmed(Span(start_line, span.end_line, span.symbol), lines)
    if rest is not None:
        yield rest


def _best_cut(start_line: int, lines: Sequence[str]) -> int:
    """The last line of a window: the blank one nearest to its target, outer blocks preferred; else the target."""
    target = start_line + WINDOW_LINES - 1
    candidates = range(start_line + WINDOW_LINES // 2, start_line + WINDOW_LINES + WINDOW_LINES // 4)
    blank = [line for line in candidates if not lines[line - 1].strip()]
    return min(blank, key=lambda line: _indent(lines[line]) * 2 + abs(line - target), default=target)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _trimmed(span: Span, lines: Sequence[str]) -> Span | None:
    start_line, end_line = span.start_line, span.end_line
    while start_line <= end_line and not lines[start_line - 1].strip():
        start_line += 1
    while end_line >= start_line and not lines[end_line - 1].strip():
        end_line -= 1
    return Span(start_line, end_line, span.symbol) if start_line <= end_line else None
