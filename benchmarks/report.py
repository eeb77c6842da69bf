"""The figures beside their limits, for a person as a table and for a program as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from rich.console import Console
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Figure:
    """One measured quantity; its median is held against the limit. Without a limit it is reported beside the others."""

    name: str
    unit: str
    values: tuple[float, ...]
    limit: float | None = None
    note: str = ""
    strict: bool = False
    least: bool = False

    @property
    def value(self) -> float:
        return median(self.values)

    @property
    def passed(self) -> bool:
        """`strict` means below the limit, `least` at least the limit, else at most the limit."""
        if self.limit is None:
            return True
        if self.least:
            return self.value >= self.limit
        return self.value < self.limit if self.strict else self.value <= self.limit

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "unit": self.unit,
            "median": round(self.value, 3),
            "values": [round(value, 3) for value in self.values],
            "limit": self.limit,
            "passed": self.passed if self.limit is not None else None,
            "note": self.note,
        }


def print_figures(console: Console, figures: list[Figure]) -> None:
    limited = Table(title="Limits", title_justify="left", title_style="bold")
    for name, right in (("", False), ("limit", True), ("median", True), ("range", True), ("", False), ("", False)):
        limited.add_column(name, justify="right" if right else "left")
    for figure in figures:
        if figure.limit is not None:
            sign = "≥" if figure.least else "<" if figure.strict else "≤"
            limited.add_row(
                figure.name,
                f"{sign} {figure.limit:g} {figure.unit}",
                Text(_number(figure.value, figure.unit), style="bold"),
                _range(figure),
                Text("pass", style="green") if figure.passed else Text("FAIL", style="bold red"),
                Text(figure.note, style="dim"),
            )
    beside = Table(title="Beside them", title_justify="left", title_style="bold")
    for name, right in (("", False), ("median", True), ("range", True), ("", False)):
        beside.add_column(name, justify="right" if right else "left")
    for figure in figures:
        if figure.limit is None:
            value, note = _number(figure.value, figure.unit), Text(figure.note, style="dim")
            beside.add_row(figure.name, value, _range(figure), note)
    console.print(limited)
    console.print(beside)


def _range(figure: Figure) -> str:
    if len(figure.values) == 1:
        return ""
    return f"{_digits(min(figure.values))} … {_digits(max(figure.values))}"


def _number(value: float, unit: str) -> str:
    return f"{_digits(value)} {unit}"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"
