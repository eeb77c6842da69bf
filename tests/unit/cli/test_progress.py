from __future__ import annotations

import io

from rich.console import Console

from morningai.cli.progress import LiveProgress
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


def test_a_lost_connection_is_said() -> None:
    screen = io.StringIO()
    progress = LiveProgress(Console(file=screen, force_terminal=True, width=100))

    with progress:
        progress.on_lost(1)

    assert "connection lost; trying again" in screen.getvalue()
