"""`events`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command
from morningai.cli.problem import Problem

if TYPE_CHECKING:
    from morningai.api.subscriptions.v1.subscriptions_pb2 import WatchEventsResponse
    from morningai.cli.output import Output


def register(app: typer.Typer) -> None:
    gateway_command(app, "events")(events)


def events(
    invocation: Invocation,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens, until interrupted.")] = False,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only this type, e.g. task.succeeded; may be repeated.")
    ] = None,
    task: Annotated[str, typer.Option("--task", help="Only events of this task; following ends with it.")] = "",
    after: Annotated[str, typer.Option("--after", metavar="TOKEN", help="Only what comes after this token.")] = "",
    from_oldest: Annotated[
        bool, typer.Option("--from-oldest", help="With --follow: begin with the oldest event that is kept.")
    ] = False,
) -> ExitCode:
    """Show what happened in the tenant, in order: all that is kept, or what comes after a token.

    With --follow it begins with what happens from now on. With --json each line is a response with its token; one
    without an event says that nothing further has happened yet.

    \b
    Examples:
      morningai events --type task.failed
      morningai events --follow
      morningai events --json --after "$TOKEN" | jq -c '.event.type'
    """
    from morningai.api.subscriptions.v1 import subscriptions_pb2 as api
    from morningai.cli.feed import follow_events
    from morningai.cli.wording import resource_name

    request = api.WatchEventsRequest(
        after_token=after,
        from_oldest=from_oldest or not (follow or after),
        event_types=types or [],
        task=resource_name("tasks", task) if task else "",
    )
    with invocation.gateway() as gateway:
        responses = follow_events(gateway, request, on_lost=_teller(invocation.output))
        return _show(invocation.output, responses, follow=follow, token=after)


def _teller(output: Output) -> Callable[[int], None]:
    def on_lost(failures: int) -> None:
        if failures == 1:
            output.note("connection lost; trying again")

    return on_lost


def _show(output: Output, responses: Iterable[WatchEventsResponse], *, follow: bool, token: str) -> ExitCode:
    try:
        for response in responses:
            token = response.token
            _show_response(output, response)
            if not follow and not response.HasField("event"):
                break
    except KeyboardInterrupt:
        output.problem(
            Problem(
                "Interrupted.", ExitCode.INTERRUPTED, reason="INTERRUPTED", next_step=_command(token) if token else ""
            )
        )
        return ExitCode.INTERRUPTED
    if token:
        output.note(f"next: {_command(token)}")
    return ExitCode.SUCCESS


def _command(token: str) -> str:
    return f"morningai events --after {token}"


def _show_response(output: Output, response: WatchEventsResponse) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.progress import event_line
    from morningai.cli.wording import clock

    if output.json_output:
        output.record(message_json(response))
    elif response.HasField("event"):
        event = response.event.task_event
        output.line(f"{clock(event.time)}  {event.task}  {event_line(event)}")
