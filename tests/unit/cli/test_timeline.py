from __future__ import annotations

import io
from datetime import timedelta

from rich.console import Console

from morningai.cli.timeline import Span, bar, spans_of, timeline
from tests.unit.cli.fake_gateway import START, Script

TEN_SECONDS = START + timedelta(seconds=10)


def span(start: float, end: float | None) -> Span:
    ended = None if end is None else START + timedelta(seconds=end)
    return Span("answer", "faqgen", "succeeded", START + timedelta(seconds=start), ended, "")


def test_a_bar_is_to_scale() -> None:
    assert bar(span(2, 5), START, TEN_SECONDS, cells=10) == "  ━━━"


def test_a_bar_is_never_empty_and_never_too_long() -> None:
    assert bar(span(10, 10), START, TEN_SECONDS, cells=10) == " " * 9 + "━"
    assert bar(span(0, 10), START, TEN_SECONDS, cells=10) == "━" * 10


def test_what_still_runs_reaches_the_end() -> None:
    assert bar(span(5, None), START, TEN_SECONDS, cells=10) == "     ━━━━━"


def test_a_trace_without_length_is_drawn() -> None:
    assert bar(span(0, 0), START, START, cells=10) == "━"


def test_the_task_its_wait_and_its_steps_are_spans() -> None:
    script = Script()

    spans = spans_of(script.task(), script.events())

    assert [(one.name, one.service) for one in spans] == [
        ("task", ""),
        ("queued", "gateway"),
        ("index", "docs"),
        ("answer", "faqgen"),
    ]


def test_a_timeline_fits_its_width() -> None:
    script = Script()
    console = Console(width=80, record=True, file=io.StringIO())

    console.print(timeline(spans_of(script.task(), script.events()), width=80))

    lines = console.export_text().splitlines()
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
