"""A trace as a picture: one bar per step with its service, the offset of its start and how long it took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.table import Table
from rich.text import Text

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.cli.progress import step_detail
from morningai.cli.safe_text import safe
from morningai.cli.wording import STYLES, moment, step_state, task_kind, task_state

NARROWEST_BAR = 10
WIDEST_BAR = 60
TEXT_CELLS = 62
"""What the columns beside the bar take at most."""


@dataclass(frozen=True)
class Span:
    """`end` is None while it runs."""

    name: str
    service: str
    state: str
    start: datetime
    end: datetime | None
    detail: str


def spans_of(task: api.Task, events: Iterable[api.TaskEvent]) -> list[Span]:
    """The task itself, its wait in the queue, then its steps in the order in which they began."""
    kept = [event for event in events if event.task == task.name]
    steps = {event.step.step: event.step for event in kept if event.HasField("step")}
    created = moment(task.create_time)
    ended = moment(task.end_time) if task.HasField("end_time") else None
    kinds = ", ".join(task_kind(kind) for kind in task.kinds)
    whole = Span("task", "", task_state(task.state), created, ended, kinds)
    started = [moment(event.time) for event in kept if event.type == "task.started"]
    queued = [Span("queued", "gateway", "succeeded", created, time, "") for time in started[:1]]
    return [whole, *queued, *sorted((_span(step) for step in steps.values()), key=lambda span: span.start)]


def timeline(spans: Sequence[Span], *, width: int) -> Table:
    """`width` in cells of the terminal."""
    start = min(span.start for span in spans)
    last = max(span.end or span.start for span in spans)
    whole_seconds = max((last - start).total_seconds(), 0.001)
    cells = max(NARROWEST_BAR, min(WIDEST_BAR, width - TEXT_CELLS))
    table = Table(box=None, padding=(0, 1), pad_edge=False, header_style="dim")
    for header, justify in (("step", "left"), ("service", "left"), ("start", "right"), ("took", "right")):
        table.add_column(header, justify=justify, no_wrap=True)  # type: ignore[arg-type]  # literals
    table.add_column(f"0 s {'·' * max(0, cells - 12)} {whole_seconds:.2f} s", no_wrap=True, width=cells)
    table.add_column("result", overflow="fold")
    for span in spans:
        table.add_row(*_row(span, start, last, cells=cells))
    return table


def _row(span: Span, start: datetime, last: datetime, *, cells: int) -> tuple[Text, ...]:
    took = f"{(span.end - span.start).total_seconds():.2f} s" if span.end else "running"
    offset = (span.start - start).total_seconds()
    return (
        Text(span.name, style="bold" if span.name == "task" else ""),
        Text(span.service, style="dim"),
        Text(f"+{offset:.2f} s"),
        Text(took),
        Text(bar(span, start, last, cells=cells), style=STYLES.get(span.state, "dim")),
        Text(safe(span.detail), style="red" if span.state == "failed" else "dim"),
    )


def bar(span: Span, start: datetime, last: datetime, *, cells: int) -> str:
    """At least one cell, however short the span; its place is to scale."""
    whole = max((last - start).total_seconds(), 0.001)
    first = min(cells - 1, int((span.start - start).total_seconds() / whole * cells))
    end = round(((span.end or last) - start).total_seconds() / whole * cells)
    return " " * first + "━" * max(1, min(end, cells) - first)


def _span(step: api.Step) -> Span:
    end = moment(step.end_time) if step.HasField("end_time") else None
    detail = step.failure.reason if step.HasField("failure") else step_detail(step)
    return Span(step.step, step.service, step_state(step.state), moment(step.start_time), end, detail)
