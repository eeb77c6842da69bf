"""`schedule create|list|show|pause|resume|delete`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.commands.work import Priority, Source, TimeToLive
from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from morningai.api.schedules.v1.schedules_pb2 import CommitTrigger, Schedule
    from morningai.cli.output import Output

Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="schedules/… or the part behind the slash.")]
COLLECTION = "schedules"


class Kind(StrEnum):
    ANSWER = "answer"
    FAQ = "faq"
    DOCUMENT = "document"
    CHANGE = "change"


class Missed(StrEnum):
    SKIP = "skip"
    CATCH_UP = "catch_up"


class Overlap(StrEnum):
    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Tasks that come by themselves.", no_args_is_help=True)
    gateway_command(group, "create")(create)
    gateway_command(group, "list")(list_schedules)
    gateway_command(group, "show")(show)
    gateway_command(group, "pause")(pause)
    gateway_command(group, "resume")(resume)
    gateway_command(group, "delete")(delete)
    app.add_typer(group, name="schedule")


def create(
    invocation: Invocation,
    instruction: Annotated[str, typer.Argument(help="What every task asks for.")],
    cron: Annotated[
        str | None,
        typer.Option("--cron", help="Minute, hour, day of month, month, day of week, e.g. '30 6 * * mon-fri'."),
    ] = None,
    zone: Annotated[str, typer.Option("--zone", help="Of the times, e.g. Europe/Berlin.")] = "UTC",
    on_commit: Annotated[
        bool, typer.Option("--on-commit", help="In place of times: when the source's branch has a new commit.")
    ] = False,
    branch: Annotated[str, typer.Option("--branch", help="Of --on-commit; the default one if left out.")] = "",
    every: Annotated[
        int, typer.Option("--every", metavar="SECONDS", help="How often --on-commit looks; 60 to 86400.")
    ] = 300,
    name: Annotated[
        str, typer.Option("--name", help="What it is called; the instruction's beginning if left out.")
    ] = "",
    source: Source = None,
    kinds: Annotated[list[Kind] | None, typer.Option("--kind", help="What to make; may be repeated.")] = None,
    missed: Annotated[
        Missed, typer.Option("--missed", help="Firings that come more than a minute late are skipped or caught up.")
    ] = Missed.SKIP,
    overlap: Annotated[
        Overlap,
        typer.Option(
            "--overlap",
            help="A firing while the task before it has not ended is skipped, waits (the newest) or is allowed.",
        ),
    ] = Overlap.SKIP,
    priority: Annotated[
        Priority, typer.Option("--priority", help="Of its tasks, among your tenant's.")
    ] = Priority.NORMAL,
    ttl: TimeToLive = None,
) -> ExitCode:
    """Create a schedule. It fires for you: with your key's rights, and as long as they last.

    \b
    Examples:
      morningai schedule create "What changed in the API?" --cron "30 6 * * mon" --zone Europe/Berlin
      morningai schedule create "How is it installed?" --cron "0 2 * * *" --kind document --missed catch_up
      morningai schedule create "What changed in the API?" --source shop --on-commit --branch main
    """
    from uuid import uuid4

    from morningai.api.schedules.v1 import schedules_pb2 as api
    from morningai.cli.work import new_task, source_name
    from morningai.errors import InvalidInput

    if on_commit == (cron is not None):
        raise InvalidInput("--cron", "and --on-commit are two ways to fire.", remedy="Give one of them.")
    with invocation.gateway() as gateway:
        wanted = [kind.value for kind in kinds or [Kind.ANSWER]]
        source_of_all = source_name(gateway, source)
        task = new_task(instruction, source=source_of_all, kinds=wanted, priority=priority, ttl=ttl)
        schedule = api.Schedule(
            display_name=name or instruction.strip().split("\n")[0][:60],
            task=task,
            cron=api.CronTrigger(expression=cron, time_zone=zone) if cron is not None else None,
            commit=_commit_trigger(branch, every) if on_commit else None,
            missed_policy=api.MissedPolicy.Value(f"MISSED_POLICY_{missed.upper()}"),
            overlap_policy=api.OverlapPolicy.Value(f"OVERLAP_POLICY_{overlap.upper()}"),
        )
        request = api.CreateScheduleRequest(schedule=schedule, request_id=str(uuid4()))
        _show(invocation.output, gateway.call(gateway.schedules.CreateSchedule, request))
    return ExitCode.SUCCESS


def _commit_trigger(branch: str, seconds: int) -> CommitTrigger:
    from google.protobuf.duration_pb2 import Duration

    from morningai.api.schedules.v1.schedules_pb2 import CommitTrigger

    return CommitTrigger(branch=branch, poll_interval=Duration(seconds=seconds))


def list_schedules(invocation: Invocation) -> ExitCode:
    """List the tenant's schedules, newest first.

    \b
    Example:
      morningai schedule list
    """
    from morningai.api.schedules.v1 import schedules_pb2 as api
    from morningai.cli.listing import all_pages, show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, schedule_state, trigger

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[Schedule], str]:
            request = api.ListSchedulesRequest(page_size=size, page_token=token)
            page = gateway.call(gateway.schedules.ListSchedules, request)
            return list(page.schedules), page.next_page_token

        found = all_pages(fetch)
    if invocation.output.json_output:
        invocation.output.document({"schedules": [message_json(schedule) for schedule in found]})
        return ExitCode.SUCCESS
    rows = [
        (
            one.name.removeprefix(f"{COLLECTION}/"),
            schedule_state(one.state),
            trigger(one),
            clock(one.next_fire_time),
            one.display_name,
        )
        for one in found
    ]
    show_listing(invocation.output, ("schedule", "state", "fires", "next", "name"), rows)
    return ExitCode.SUCCESS


def show(invocation: Invocation, name: Name) -> ExitCode:
    """Show a schedule: when it fires next, what the last firing made, and why not.

    \b
    Example:
      morningai schedule show 0198c1de-4f7a-4cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.schedules.v1 import schedules_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.GetScheduleRequest(name=resource_name(COLLECTION, name))
        _show(invocation.output, gateway.call(gateway.schedules.GetSchedule, request))
    return ExitCode.SUCCESS


def pause(invocation: Invocation, name: Name) -> ExitCode:
    """Stop a schedule from firing. What falls due meanwhile is not caught up.

    \b
    Example:
      morningai schedule pause 0198c1de-4f7a-4cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.schedules.v1 import schedules_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.PauseScheduleRequest(name=resource_name(COLLECTION, name))
        _show(invocation.output, gateway.call(gateway.schedules.PauseSchedule, request))
    return ExitCode.SUCCESS


def resume(invocation: Invocation, name: Name) -> ExitCode:
    """Let a paused schedule fire again. From now on it fires for you.

    \b
    Example:
      morningai schedule resume 0198c1de-4f7a-4cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.schedules.v1 import schedules_pb2 as api
    from morningai.cli.wording import resource_name

    with invocation.gateway() as gateway:
        request = api.ResumeScheduleRequest(name=resource_name(COLLECTION, name))
        _show(invocation.output, gateway.call(gateway.schedules.ResumeSchedule, request))
    return ExitCode.SUCCESS


def delete(invocation: Invocation, name: Name) -> ExitCode:
    """Delete a schedule. The tasks that it made stay.

    \b
    Example:
      morningai schedule delete 0198c1de-4f7a-4cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.schedules.v1 import schedules_pb2 as api
    from morningai.cli.wording import resource_name

    full_name = resource_name(COLLECTION, name)
    with invocation.gateway() as gateway:
        request = api.DeleteScheduleRequest(name=full_name)
        gateway.call(gateway.schedules.DeleteSchedule, request, repeatable=False)
    if invocation.output.json_output:
        invocation.output.document({"deleted": full_name})
    else:
        invocation.output.line(f"{full_name} is deleted.")
    return ExitCode.SUCCESS


def _show(output: Output, schedule: Schedule) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, missed_policy, overlap_policy, schedule_state, task_kind, trigger

    if output.json_output:
        output.document(message_json(schedule))
        return
    output.line(schedule.display_name, style="bold")
    kinds = ", ".join(task_kind(kind) for kind in schedule.task.kinds)
    output.line(f"{schedule_state(schedule.state)} · {kinds} · {schedule.task.source} · for {schedule.principal}")
    output.line(trigger(schedule))
    output.line(
        f"missed: {missed_policy(schedule.missed_policy)} · overlapping: {overlap_policy(schedule.overlap_policy)}"
    )
    if schedule.HasField("next_fire_time"):
        output.line(f"next  {clock(schedule.next_fire_time)}")
    if schedule.HasField("last_fire_time"):
        output.line(f"last  {clock(schedule.last_fire_time)}  {schedule.last_task}".rstrip())
    if schedule.watch.HasField("check_time"):
        output.line(f"looked {clock(schedule.watch.check_time)}  {schedule.watch.commit}".rstrip())
    if schedule.watch.HasField("failure"):
        failure = schedule.watch.failure
        output.line(f"could not look, {schedule.watch.failed_checks} in a row  {failure.message} {failure.remedy}")
    if schedule.HasField("waiting_fire_time"):
        output.line(f"waiting since {clock(schedule.waiting_fire_time)}")
    if schedule.skipped_count:
        skipped = f"skipped {schedule.skipped_count} · last {clock(schedule.last_skip_time)}"
        output.line(f"{skipped}  {schedule.last_skip.message} {schedule.last_skip.remedy}")
    if schedule.HasField("last_failure"):
        output.line(f"{schedule.last_failure.message} {schedule.last_failure.remedy}")
    output.note(schedule.name)
