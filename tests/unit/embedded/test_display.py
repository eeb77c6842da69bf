from __future__ import annotations

import io

import pytest
from rich.console import Console

from morningai.embedded.display import LiveDisplay, PlainDisplay, QuietDisplay, make_display, plain_line, timings_table
from morningai.embedded.part import PartState


def console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)


def output(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


@pytest.mark.parametrize(
    ("state", "seconds", "detail", "line"),
    [
        (PartState.HEALTHY, 0.123, "", "docs healthy in 0.12 s"),
        (PartState.DONE, 2.0, "", "docs done in 2.00 s"),
        (PartState.STARTING, 0.0, "", "docs starting"),
        (PartState.DIED, 0.0, "ended by SIGKILL\nmore", "docs died: ended by SIGKILL"),
    ],
)
def test_a_plain_line_says_what_happened(state: PartState, seconds: float, detail: str, line: str) -> None:
    assert plain_line("docs", state, seconds, detail) == line


@pytest.mark.parametrize(
    ("terminal", "quiet", "kind"),
    [(True, False, LiveDisplay), (False, False, PlainDisplay), (True, True, QuietDisplay)],
)
def test_lines_move_only_on_a_terminal_and_programs_see_none(terminal: bool, quiet: bool, kind: type) -> None:
    assert type(make_display(console(terminal=terminal), quiet=quiet)) is kind


def test_a_pipe_gets_no_control_characters() -> None:
    target = console(terminal=False)
    display = make_display(target, quiet=False)
    display.on_part_state("docs", PartState.WAITING, 0, "")
    display.on_part_state("docs", PartState.HEALTHY, 0.5, "")
    assert output(target) == "docs healthy in 0.50 s\n"


def test_a_part_that_is_up_gets_a_tick_and_its_seconds() -> None:
    target = console(terminal=True)
    display = make_display(target, quiet=False)
    display.on_part_state("postgres", PartState.STARTING, 0, "")
    display.on_part_state("postgres", PartState.HEALTHY, 0.5, "")
    display.settle()
    assert "✓ postgres 0.50 s" in output(target)


def test_a_part_that_dies_later_is_told_on_a_line_of_its_own() -> None:
    target = console(terminal=True)
    display = make_display(target, quiet=False)
    display.settle()
    display.on_part_state("docs", PartState.DIED, 0, "ended by SIGKILL")
    assert output(target) == "docs died: ended by SIGKILL\n"


def test_names_with_brackets_are_not_markup() -> None:
    target = console(terminal=False)
    make_display(target, quiet=False).on_part_state("docs", PartState.FAILED, 0, "[red]boom[/nothing]")
    assert output(target) == "docs failed: [red]boom[/nothing]\n"


def test_timings_list_every_part_and_the_total() -> None:
    target = console(terminal=False)
    target.print(timings_table({"postgres": 1.234, "docs": 2.0}, 3.5))
    words = output(target).split()
    assert {"postgres", "1.23", "docs", "2.00", "3.50"} <= set(words)
