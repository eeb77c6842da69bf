"""The tasks of a trace, each with its timeline."""

from __future__ import annotations

from collections.abc import Sequence

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.cli.gateway import Gateway
from morningai.cli.listing import all_pages
from morningai.cli.output import Output
from morningai.cli.showing import show_failure
from morningai.cli.timeline import spans_of, timeline


def list_events(gateway: Gateway, *, name: str = "", trace_id: str = "") -> list[api.TaskEvent]:
    """All events of a task, or of a trace."""

    def fetch(size: int, token: str) -> tuple[Sequence[api.TaskEvent], str]:
        request = api.ListTaskEventsRequest(name=name, trace_id=trace_id, page_size=size, page_token=token)
        page = gateway.call(gateway.tasks.ListTaskEvents, request)
        return page.events, page.next_page_token

    return all_pages(fetch)


def show_traced(output: Output, gateway: Gateway, events: Sequence[api.TaskEvent]) -> None:
    for name in dict.fromkeys(event.task for event in events):
        task = gateway.call(gateway.tasks.GetTask, api.GetTaskRequest(name=name))
        show_timeline(output, task, events)


def show_timeline(output: Output, task: api.Task, events: Sequence[api.TaskEvent]) -> None:
    output.line(task.instruction.split("\n")[0], style="bold")
    output.line(f"{task.name} · trace {task.trace_id}", style="dim")
    output.show(timeline(spans_of(task, events), width=output.console.width))
    for step in task.steps:
        if step.HasField("failure"):
            show_failure(output, step.step, step.failure)
    output.line()
