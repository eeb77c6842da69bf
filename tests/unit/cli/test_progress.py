from __future__ import annotations

import io

from rich.console import Console

from morningai.api.tasks.v1 import tasks_pb2
from morningai.cli.progress import LiveProgress, PlainProgress
from tests.unit.cli.fake_gateway import Script, step


def test_on_a_terminal_each_step_is_one_line_that_changes() -> None:
    screen = io.StringIO()
    progress = LiveProgress(Console(file=screen, force_terminal=True, width=100))
    script = Script()
    running = script.events()[1]
    running.step.CopyFrom(step("index", "docs"))

    with progress:
        progress.on_event(running)
        for event in script.events()[1:]:
            progress.on_event(event)

    last = screen.getvalue().rpartition("✓ \x1b")[0] or screen.getvalue()
    assert "index" in last
    assert "\x1b[" in screen.getvalue()
    assert "succeeded" in screen.getvalue()


def tick(percent: int) -> tasks_pb2.TaskEvent:
    said = step("index", "docs")
    said.progress.CopyFrom(tasks_pb2.StepProgress(percent=percent, stage="reading 40 files"))
    return tasks_pb2.TaskEvent(type="step.progressed", step=said)


def shown(*events: tasks_pb2.TaskEvent) -> str:
    screen = io.StringIO()
    progress = LiveProgress(Console(file=screen, force_terminal=True, width=100))
    with progress:
        for event in events:
            progress.on_event(event)
    return screen.getvalue()


def changed(*, ended: bool) -> tasks_pb2.TaskEvent:
    changed_step = step("index", "docs", end=1.0 if ended else None)
    return tasks_pb2.TaskEvent(sequence=2, type="step", step=changed_step)


def test_a_running_step_says_how_far_it_is() -> None:
    assert "40 % · reading 40 files" in shown(changed(ended=False), tick(40))


def test_a_tick_behind_the_end_of_its_step_or_before_its_begin_says_nothing() -> None:
    assert "%" not in shown(tick(40), changed(ended=True), tick(80))


def test_where_lines_are_printed_ticks_are_none() -> None:
    screen = io.StringIO()
    PlainProgress(Console(file=screen)).on_event(tick(40))

    assert screen.getvalue() == ""


def test_a_lost_connection_is_said() -> None:
    screen = io.StringIO()
    progress = LiveProgress(Console(file=screen, force_terminal=True, width=100))

    with progress:
        progress.on_lost(1)

    assert "connection lost; trying again" in screen.getvalue()
