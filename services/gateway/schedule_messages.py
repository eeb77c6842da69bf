"""Schedules between the domain and protobuf."""

from __future__ import annotations

from datetime import datetime

from morningai.api.schedules.v1 import schedules_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.errors import InvalidInput
from morningai.rpc.time import duration_message, timestamp
from services.gateway.domain.schedules import (
    MissedPolicy,
    NewSchedule,
    Schedule,
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
        cron=check_cron(wanted.cron.expression, wanted.cron.time_zone, now=now),
        missed_policy=_missed_policy(wanted.missed_policy),
    )


def schedule_message(schedule: Schedule) -> api.Schedule:
    content = schedule.content
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
        cron=api.CronTrigger(expression=content.cron.expression, time_zone=content.cron.time_zone),
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


def _principal_name(principal: str) -> str:
    kind, _, identifier = principal.partition(":")
    return f"{'apiKeys' if kind == 'key' else 'members'}/{identifier}"
