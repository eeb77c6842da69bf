"""What a person sees of a start: a line per part with a spinner, then a tick and seconds; plain off a terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from morningai.embedded.part import PartState

_MARKS: Mapping[PartState, tuple[str, str]] = {
    PartState.WAITING: ("·", "dim"),
    PartState.HEALTHY: ("✓", "green"),
    PartState.DONE: ("✓", "green"),
    PartState.DIED: ("!", "yellow"),
    PartState.FAILED: ("✗", "red"),
    PartState.STOPPED: ("✓", "dim"),
}
_MOVING = frozenset({PartState.STARTING, PartState.STOPPING})


class Display(Protocol):
    def on_part_state(self, name: str, state: PartState, seconds: float, detail: str) -> None: ...

    def settle(self) -> None:
        """Leave the lines as they are: what follows is printed below them."""


@dataclass(frozen=True)
class _Line:
    state: PartState
    seconds: float
    detail: str
    since: float


class QuietDisplay:
    """For programs, which read the one line of JSON instead."""

    def on_part_state(self, name: str, state: PartState, seconds: float, detail: str) -> None:
        pass

    def settle(self) -> None:
        pass


class PlainDisplay:
    """One line per change that matters, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def on_part_state(self, name: str, state: PartState, seconds: float, detail: str) -> None:
        if state is not PartState.WAITING:
            line = plain_line(name, state, seconds, detail)
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def settle(self) -> None:
        pass


class LiveDisplay:
    """Draws during the start and the stop. In between, a part that dies or comes back is one plain line."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: dict[str, _Line] = {}
        self._spinners: dict[str, Spinner] = {}
        self._live: Live | None = None
        self._plain = PlainDisplay(console)
        self._settled = False

    def on_part_state(self, name: str, state: PartState, seconds: float, detail: str) -> None:
        if self._settled and state not in (PartState.STOPPING, PartState.STOPPED):
            self._plain.on_part_state(name, state, seconds, detail)
            return
        self._lines[name] = _Line(state, seconds, detail, time.monotonic())
        self._draw()

    def settle(self) -> None:
        if self._live:
            self._live.update(self._render(), refresh=True)
            self._live.stop()
            self._live = None
        self._lines.clear()
        self._settled = True

    def _draw(self) -> None:
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=12, get_renderable=self._render)
            self._live.start()
        self._live.refresh()

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        width = max((len(name) for name in self._lines), default=0)
        for name, line in self._lines.items():
            table.add_row(self._mark(name, line), Text(name.ljust(width)), Text(_right_side(line), style="dim"))
        return table

    def _mark(self, name: str, line: _Line) -> RenderableType:
        if line.state in _MOVING:
            return self._spinners.setdefault(name, Spinner("dots", style="cyan"))
        mark, style = _MARKS[line.state]
        return Text(mark, style=style)


def _right_side(line: _Line) -> str:
    if line.state in _MOVING:
        return f"{line.state.value} {time.monotonic() - line.since:.1f} s"
    if line.detail:
        return line.detail.splitlines()[0]
    if line.state is PartState.WAITING:
        return "waiting"
    return f"{'stopped in ' if line.state is PartState.STOPPED else ''}{line.seconds:.2f} s"


def plain_line(name: str, state: PartState, seconds: float, detail: str) -> str:
    took = f" in {seconds:.2f} s" if state in (PartState.HEALTHY, PartState.DONE) else ""
    why = f": {detail.splitlines()[0]}" if detail else ""
    return f"{name} {state.value}{took}{why}"


def make_display(console: Console, *, quiet: bool) -> Display:
    if quiet:
        return QuietDisplay()
    return LiveDisplay(console) if console.is_terminal else PlainDisplay(console)


def timings_table(seconds: Mapping[str, float], total_seconds: float) -> Table:
    table = Table("part", "seconds", title="Start", title_justify="left")
    table.columns[1].justify = "right"
    for name, value in seconds.items():
        table.add_row(name, f"{value:.2f}")
    table.add_section()
    table.add_row("all, side by side", f"{total_seconds:.2f}")
    return table


def print_summary(console: Console, rows: Sequence[tuple[str, str]]) -> None:
    """Never wrapped, so that paths can be copied."""
    width = max(len(label) for label, _ in rows) + 2
    for label, value in rows:
        console.print(Text.assemble((label.ljust(width), "dim"), value), soft_wrap=True)
