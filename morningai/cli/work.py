"""Creating a task, following it, and showing what it made."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.cli.duration import parse_duration
from morningai.cli.exit_code import ExitCode
from morningai.cli.following import WatchInterrupted, follow
from morningai.cli.gateway import Gateway
from morningai.cli.invocation import Invocation
from morningai.cli.outcome import fetch_outcome
from morningai.cli.output import Output
from morningai.cli.problem import Problem
from morningai.cli.progress import make_progress
from morningai.cli.showing import show_outcome
from morningai.cli.wording import resource_name
from morningai.errors import InvalidInput

KINDS = {
    "answer": api.TASK_KIND_ANSWER,
    "faq": api.TASK_KIND_FAQ,
    "document": api.TASK_KIND_DOCUMENT,
    "change": api.TASK_KIND_CHANGE,
}

PRIORITIES = {
    "low": api.TASK_PRIORITY_LOW,
    "normal": api.TASK_PRIORITY_NORMAL,
    "high": api.TASK_PRIORITY_HIGH,
}


def run_task(
    invocation: Invocation,
    instruction: str,
    *,
    source: str | None,
    kinds: Sequence[str],
    priority: str = "normal",
    ttl: str | None = None,
    delivery: api.Delivery | None = None,
) -> ExitCode:
    if not instruction.strip():
        raise InvalidInput("instruction", "is empty.", remedy="Say what you want to know or to change.")
    with invocation.gateway() as gateway:
        task = create_task(
            gateway,
            instruction,
            source=source_name(gateway, source),
            kinds=kinds,
            priority=priority,
            ttl=ttl,
            delivery=delivery,
        )
        invocation.output.note(f"{task.name} · trace {task.trace_id}")
        return watch_to_the_end(invocation.output, gateway, task.name)


def create_task(
    gateway: Gateway,
    instruction: str,
    *,
    source: str,
    kinds: Sequence[str],
    priority: str = "normal",
    ttl: str | None = None,
    delivery: api.Delivery | None = None,
) -> api.Task:
    """The request_id makes a repetition after a lost reply the same task."""
    task = new_task(instruction, source=source, kinds=kinds, priority=priority, ttl=ttl)
    if delivery is not None:
        task.delivery.CopyFrom(delivery)
    return gateway.call(gateway.tasks.CreateTask, api.CreateTaskRequest(task=task, request_id=str(uuid4())))


def new_task(instruction: str, *, source: str, kinds: Sequence[str], priority: str, ttl: str | None = None) -> api.Task:
    """What is asked for, by its words."""
    wanted = [KINDS[kind] for kind in dict.fromkeys(kinds)]
    task = api.Task(instruction=instruction, source=source, kinds=wanted, priority=PRIORITIES[priority])
    if ttl is not None:
        task.ttl.FromTimedelta(parse_duration(ttl, option="--ttl"))
    return task


def watch_to_the_end(output: Output, gateway: Gateway, name: str) -> ExitCode:
    try:
        task = follow(gateway, name, make_progress(output))
    except WatchInterrupted:
        output.problem(goes_on(name))
        return ExitCode.INTERRUPTED
    outcome = fetch_outcome(gateway, task)
    if output.json_output:
        output.document(outcome.to_json())
    else:
        show_outcome(output, outcome)
    return outcome.exit_code


def goes_on(name: str) -> Problem:
    return Problem(
        f"Interrupted. {name} goes on without being watched.",
        ExitCode.INTERRUPTED,
        reason="INTERRUPTED",
        next_step=f"Watch it: morningai task watch {name}   Cancel it: morningai task cancel {name}",
    )


def source_name(gateway: Gateway, given: str | None) -> str:
    """The given one, or the tenant's only one. Raises InvalidInput("--source")."""
    if given:
        return resource_name("sources", given)
    found = gateway.call(gateway.sources.ListSources, sources.ListSourcesRequest(page_size=10)).sources
    if len(found) == 1:
        return found[0].name
    if not found:
        raise InvalidInput("--source", "there is no source yet.", remedy="Add one: `morningai source add NAME [PATH]`.")
    names = ", ".join(source.name.removeprefix("sources/") for source in found)
    raise InvalidInput("--source", "is missing, and there are several.", remedy=f"Give one of: {names}.")
