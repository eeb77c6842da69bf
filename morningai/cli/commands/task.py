"""`task list|show|watch|cancel`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.tasks.v1.tasks_pb2 import Task
    from morningai.cli.output import Output

Name = Annotated[str, typer.Argument(metavar="TASK", help="tasks/… or the part behind the slash.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Requests and what became of them.", no_args_is_help=True)
    gateway_command(group, "list")(list_tasks)
    gateway_command(group, "show")(show)
    gateway_command(group, "watch")(watch)
    gateway_command(group, "cancel")(cancel)
    app.add_typer(group, name="task")


def list_tasks(
    invocation: Invocation,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many, newest first.")] = 20,
) -> ExitCode:
    """List the tenant's tasks, newest first.

    \b
    Examples:
      morningai task list
      morningai task list --limit 100 --json | jq '.tasks[] | select(.state=="TASK_STATE_FAILED")'
    """
    from morningai.api.tasks.v1 import tasks_pb2 as api
    from morningai.cli.listing import all_pages
    from morningai.cli.output import message_json

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[Task], str]:
            page = gateway.call(gateway.tasks.ListTasks, api.ListTasksRequest(page_size=size, page_token=token))
            return list(page.tasks), page.next_page_token

        tasks = all_pages(fetch, limit=limit)
    if invocation.output.json_output:
        invocation.output.document({"tasks": [message_json(task) for task in tasks]})
    else:
        _show_list(invocation.output, tasks)
    return ExitCode.SUCCESS


def show(invocation: Invocation, name: Name) -> ExitCode:
    """Show a task with its steps.

    \b
    Example:
      morningai task show tasks/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.tasks.v1 import tasks_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        task = gateway.call(gateway.tasks.GetTask, api.GetTaskRequest(name=resource_name("tasks", name)))
    _show_task(invocation.output, task)
    return ExitCode.SUCCESS


def watch(invocation: Invocation, name: Name) -> ExitCode:
    """Follow a task to its end, then print what it made.

    \b
    Example:
      morningai task watch tasks/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.cli.wording import resource_name
    from morningai.cli.work import watch_to_the_end

    with invocation.gateway() as gateway:
        return watch_to_the_end(invocation.output, gateway, resource_name("tasks", name))


def cancel(invocation: Invocation, name: Name) -> ExitCode:
    """Ask a task to stop.

    \b
    Example:
      morningai task cancel tasks/0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.tasks.v1 import tasks_pb2 as api
    from morningai.cli.wording import resource_name

    full_name = resource_name("tasks", name)
    with invocation.gateway() as gateway:
        gateway.call(gateway.tasks.CancelTask, api.CancelTaskRequest(name=full_name))
        task = gateway.call(gateway.tasks.GetTask, api.GetTaskRequest(name=full_name))
    _show_task(invocation.output, task)
    return ExitCode.SUCCESS


def _show_task(output: Output, task: Task) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.showing import show_delivery, show_end, show_expiry, show_queue_place, show_steps
    from morningai.cli.wording import clock, task_kind

    if output.json_output:
        output.document(message_json(task))
        return
    output.line(task.instruction, style="bold")
    kinds = ", ".join(task_kind(kind) for kind in task.kinds)
    output.line(f"{kinds} · {task.source} · {clock(task.create_time)}", style="dim")
    show_steps(output, task.steps)
    show_delivery(output, task)
    show_queue_place(output, task)
    show_expiry(output, task)
    show_end(output, task)


def _show_list(output: Output, tasks: list[Task]) -> None:
    from morningai.cli.listing import show_listing
    from morningai.cli.wording import clock, task_kind, task_state

    rows = [
        (
            task.name.removeprefix("tasks/"),
            task_state(task.state),
            ", ".join(task_kind(kind) for kind in task.kinds),
            task.source.removeprefix("sources/"),
            clock(task.create_time),
            task.instruction.split("\n")[0][:60],
        )
        for task in tasks
    ]
    show_listing(output, ("task", "state", "kinds", "source", "created", "instruction"), rows)
