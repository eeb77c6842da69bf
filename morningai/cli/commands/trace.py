"""`trace ID`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.tasks.v1.tasks_pb2 import TaskEvent
    from morningai.cli.gateway import Gateway

_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")


def register(app: typer.Typer) -> None:
    gateway_command(app, "trace")(trace)


def trace(
    invocation: Invocation,
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="A trace ID of 32 hexadecimal digits, or a task.")],
) -> ExitCode:
    """Draw the timeline of a trace.

    Each step has its service, the offset of its start, how long it took, and what came of it.

    \b
    Examples:
      morningai trace 4bf92f3577b34da6a3ce929d0e0e4736
      morningai trace tasks/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.cli.output import message_json
    from morningai.cli.tracing import show_traced
    from morningai.errors import NotFound

    with invocation.gateway() as gateway:
        events = _events(gateway, trace_id)
        if not events:
            raise NotFound("trace", trace_id, remedy="`morningai task show TASK` names the trace of a task.")
        if invocation.output.json_output:
            content = [message_json(event) for event in events]
            invocation.output.document({"trace_id": events[0].trace_id, "events": content})
        else:
            show_traced(invocation.output, gateway, events)
    return ExitCode.SUCCESS


def _events(gateway: Gateway, given: str) -> list[TaskEvent]:
    from morningai.cli.tracing import list_events
    from morningai.cli.wording import resource_name

    if _TRACE_ID.fullmatch(given):
        return list_events(gateway, trace_id=given.lower())
    return list_events(gateway, name=resource_name("tasks", given))
