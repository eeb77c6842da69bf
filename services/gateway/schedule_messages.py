"""Schedules between the domain and protobuf."""

from __future__ import annotations

from datetime import datetime

from morningai.api.schedules.v1 import schedules_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.errors import InvalidInput
from morningai.rpc.time import duration, duration_message, timestamp
from services.gateway.domain.schedules import (
    CommitTrigger,
    Cron,
    MissedPolicy,
    NewSchedule,
    OverlapPolicy,
    Schedule,
    Watch,
    check_commit_trigger,
    check_cron,
    check_display_name,
)
from services.gateway.domain.tasks import NewTask
from services.gateway.messages import failure_message, kind_values, new_task_of, priority_value


def new_schedule_of(request: api.CreateScheduleRequest, *, now: datetime) -> NewSchedule:
    """Raises InvalidInput that names the field and the remedy."""
    wanted = request.schedule
    return NewSchedule(
        display_name=check_display_name(wanted.display_name),
        task=_new_task_of(request),
        trigger=_trigger(wanted, now=now),
        missed_policy=_missed_policy(wanted.missed_policy),
        overlap_policy=_overlap_policy(wanted.overlap_policy),
    )


def schedule_message(schedule: Schedule) -> api.Schedule:
    content = schedule.content
    trigger = content.trigger
    return api.Schedule(
        name=schedule.name,
        display_name=content.display_name,
        task=tasks.Task(
            instruction=content.task.instruction,
            source=content.task.source,
            kinds=kind_values(content.task.kinds),
            priority=priority_value(content.task.priority),
            delivery=tasks.Delivery() if content.task.branch is not None else None,
            ttl=duration_message(content.task.ttl),
        ),
        cron=_cron_message(trigger) if isinstance(trigger, Cron) else None,
        commit=_commit_message(trigger) if isinstance(trigger, CommitTrigger) else None,
        watch=_watch_message(schedule.watch) if isinstance(trigger, CommitTrigger) else None,
        missed_policy=api.MissedPolicy.Value(f"MISSED_POLICY_{content.missed_policy.upper()}"),
        state=api.ScheduleState.Value(f"SCHEDULE_STATE_{schedule.state.upper()}"),
        principal=_principal_name(schedule.principal),
        next_fire_time=timestamp(schedule.next_fire_at),
        last_fire_time=timestamp(schedule.last_fire_at),
        last_task=f"tasks/{schedule.last_task_id}" if schedule.last_task_id else "",
        last_failure=failure_message(schedule.last_failure),
        create_time=timestamp(schedule.created_at),
        update_time=timestamp(schedule.updated_at),
        etag=schedule.etag,
        overlap_policy=api.OverlapPolicy.Value(f"OVERLAP_POLICY_{content.overlap_policy.upper()}"),
        waiting_fire_time=timestamp(schedule.waiting.occasion.time) if schedule.waiting else None,
        skipped_count=schedule.skipped_count,
        last_skip_time=timestamp(schedule.last_skip_at),
        last_skip=failure_message(schedule.last_skip),
    )


def _trigger(wanted: api.Schedule, *, now: datetime) -> Cron | CommitTrigger:
    if wanted.WhichOneof("trigger") != "commit":
        return check_cron(wanted.cron.expression, wanted.cron.time_zone, now=now)
    given = wanted.commit
    field = "schedule.commit.poll_interval"
    interval = duration(given.poll_interval, field=field) if given.HasField("poll_interval") else None
    return check_commit_trigger(given.branch, interval)


def _cron_message(cron: Cron) -> api.CronTrigger:
    return api.CronTrigger(expression=cron.expression, time_zone=cron.time_zone)


def _commit_message(trigger: CommitTrigger) -> api.CommitTrigger:
    message = api.CommitTrigger(branch=trigger.branch)
    message.poll_interval.FromTimedelta(trigger.poll_interval)
    return message


def _watch_message(watch: Watch) -> api.BranchWatch:
    return api.BranchWatch(
        commit=watch.settled,
        check_time=timestamp(watch.checked_at),
        failed_checks=watch.failed_checks,
        failure=failure_message(watch.failure),
    )


def _new_task_of(request: api.CreateScheduleRequest) -> NewTask:
    if request.schedule.task.delivery.branch:
        raise InvalidInput(
            "schedule.task.delivery.branch",
            "would be the same for every task.",
            remedy="Leave it empty: each task pushes morningai/{task}.",
        )
    try:
        return new_task_of(tasks.CreateTaskRequest(task=request.schedule.task, request_id=request.request_id))
    except InvalidInput as error:
        field = error.field if error.field == "request_id" else f"schedule.{error.field}"
        raise InvalidInput(field, error.problem, remedy=error.remedy) from error


def _missed_policy(policy: int) -> MissedPolicy:
    names = {api.MissedPolicy.Value(f"MISSED_POLICY_{name.upper()}"): name for name in MissedPolicy}
    found = (names | {0: MissedPolicy.SKIP}).get(api.MissedPolicy.ValueType(policy))
    if found is None:
        raise InvalidInput("schedule.missed_policy", f"{policy} is not a policy.", remedy="Use skip or catch_up.")
    return found


def _overlap_policy(policy: int) -> OverlapPolicy:
    names = {api.OverlapPolicy.Value(f"OVERLAP_POLICY_{name.upper()}"): name for name in OverlapPolicy}
    found = (names | {0: OverlapPolicy.SKIP}).get(api.OverlapPolicy.ValueType(policy))
    if found is None:
        raise InvalidInput("schedule.overlap_policy", f"{policy} is not a policy.", remedy="Use skip, queue or allow.")
    return found


def _principal_name(principal: str) -> str:
    kind, _, identifier = principal.partition(":")
    return f"{'apiKeys' if kind == 'key' else 'members'}/{identifier}"
