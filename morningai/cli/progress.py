"""What a person sees while a task runs: a line per step with a spinner on a terminal, a line per event elsewhere."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from rich.console import Console, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1.approvals_pb2 import APPROVAL_STATE_PENDING, Approval
from morningai.cli.output import Output
from morningai.cli.safe_text import safe
from morningai.cli.wording import STYLES, seconds_between, step_state, task_state

MARKS = {"succeeded": "✓", "failed": "✗", "cancelled": "-"}


class Progress(AbstractContextManager["Progress"], Protocol):
    def on_event(self, event: api.TaskEvent) -> None: ...

    def on_lost(self, failures: int) -> None:
        """The connection broke for the given time in a row; it is tried again."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class QuietProgress(Progress):
    """For programs."""

    def on_event(self, event: api.TaskEvent) -> None:
        pass

    def on_lost(self, failures: int) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class PlainProgress(QuietProgress):
    def __init__(self, console: Console) -> None:
        self._console = console

    def on_event(self, event: api.TaskEvent) -> None:
        if event.sequence:
            self._print(event_line(event))

    def on_lost(self, failures: int) -> None:
        if failures == 1:
            self._print("connection lost; trying again")

    def _print(self, line: str) -> None:
        self._console.print(Text(safe(line)), soft_wrap=True)


class LiveProgress(Progress):
    def __init__(self, console: Console) -> None:
        self._began = time.monotonic()
        self._seen: dict[str, tuple[api.Step, float]] = {}
        self._spinners: dict[str, Spinner] = {}
        self._state = "queued"
        self._asked = ""
        self._ended = False
        self._live = Live(console=console, refresh_per_second=10, get_renderable=self._render)

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended = True
        self._live.stop()

    def on_event(self, event: api.TaskEvent) -> None:
        if not event.sequence:
            self._on_tick(event.step)
            return
        self._state = task_state(event.task_state)
        waiting = event.task_state == api.TASK_STATE_WAITING_FOR_APPROVAL
        self._asked = approval_detail(event.approval) if waiting else ""
        if event.HasField("step"):
            known = self._seen.get(event.step.step)
            self._seen[event.step.step] = (event.step, known[1] if known else time.monotonic())

    def _on_tick(self, step: api.Step) -> None:
        """One that comes after the step's end, or before its begin, says nothing."""
        known = self._seen.get(step.step)
        if known and not known[0].HasField("end_time"):
            known[0].progress.CopyFrom(step.progress)

    def on_lost(self, failures: int) -> None:
        self._state = "connection lost; trying again"

    def _render(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for name, (step, since) in self._seen.items():
            table.add_row(self._mark(name, step), name, Text(step.service, style="dim"), *_right_side(step, since))
        seconds = time.monotonic() - self._began
        mark = Text(" ") if self._ended else self._spinner("")
        table.add_row(
            mark, Text(self._state, style=STYLES.get(self._state, "dim")), "", f"{seconds:.1f} s", safe(self._asked)
        )
        return table

    def _mark(self, name: str, step: api.Step) -> RenderableType:
        state = step_state(step.state)
        if state == "running":
            return Text("·") if self._ended else self._spinner(name)
        return Text(MARKS.get(state, "?"), style=STYLES.get(state, ""))

    def _spinner(self, name: str) -> Spinner:
        return self._spinners.setdefault(name, Spinner("dots", style="cyan"))


def make_progress(output: Output) -> Progress:
    if output.json_output:
        return QuietProgress()
    return LiveProgress(output.errors) if output.errors.is_terminal else PlainProgress(output.errors)


def event_line(event: api.TaskEvent) -> str:
    if event.HasField("approval"):
        return f"{event.type}: {approval_detail(event.approval)}"
    if not event.HasField("step"):
        return event.type + (f": {event.failure.message}" if event.HasField("failure") else "")
    step = event.step
    took = f" in {step_seconds(step):.2f} s" if step.HasField("end_time") else ""
    said = step_detail(step)
    return f"{step.step} ({step.service}) {step_state(step.state)}{took}" + (f": {said}" if said else "")


def step_detail(step: api.Step) -> str:
    """One line: the failure's message, or the summary with the engine and model that made it."""
    if step.HasField("failure"):
        return step.failure.message
    if step.HasField("progress"):
        return f"{step.progress.percent} % · {step.progress.stage}"
    made_by = " ".join(part for part in (step.engine, step.model) if part)
    return " · ".join(part for part in (step.summary, made_by) if part)


def approval_detail(approval: Approval) -> str:
    """One line: what is asked, and how it is answered; or who said what."""
    if approval.state == APPROVAL_STATE_PENDING:
        return f"{approval.summary} `morningai approval show {approval.name.removeprefix('approvals/')}`"
    return " · ".join(part for part in (approval.summary, approval.decider, approval.reason) if part)


def step_seconds(step: api.Step) -> float:
    return seconds_between(step.start_time, step.end_time)


def _right_side(step: api.Step, since: float) -> tuple[Text, Text]:
    running = not step.HasField("end_time")
    seconds = time.monotonic() - since if running else step_seconds(step)
    style = "red" if step.HasField("failure") else "dim"
    return Text(f"{seconds:.1f} s", justify="right"), Text(safe(step_detail(step)), style=style, overflow="ellipsis")
