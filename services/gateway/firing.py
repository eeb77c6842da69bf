"""Fires schedules: each timer makes at most one task and the next timer, in one transaction.

A firing may have to wait for the task before it: then its message is held, and that task's end makes it due. The
timer's seal says for whom; PostgreSQL opens no task for somebody who may not ask for one at that moment.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.envelope import Envelope
from morningai.db.session import Session
from morningai.errors import QuotaExceeded
from morningai.rpc.time import timestamp
from services.gateway.acceptance import accept_task
from services.gateway.domain.schedules import Firing, OverlapPolicy, Schedule, fired_task_id, next_time, plan
from services.gateway.domain.tasks import Failure
from services.gateway.repository import schedules as repository

CREATING_SCOPE = "tasks.write"
MAY_NOT = Failure(
    reason="principal_may_not",
    message="Whom the schedule acts for may not create tasks any more: their key is revoked or has expired, they are "
    "no member or have another role, or the tenant is suspended.",
    remedy="Somebody who may create tasks can resume it.",
)
OVERLAPS = Failure(
    reason="earlier_task_running",
    message="The schedule's task before it had not ended.",
    remedy="With the overlap policy queue it would have waited.",
)
REPLACED = Failure(
    reason="replaced_while_waiting",
    message="A newer firing took its place while it waited for the schedule's task before it to end.",
    remedy="With the overlap policy allow both would have made a task.",
)


async def start(session: Session, schedule: Schedule) -> None:
    """From now on it fires for the session's principal."""
    await repository.open_schedule(session, schedule.schedule_id)
    now = await repository.get_now(session)
    await set_timer(session, schedule, Firing(next_time(schedule.content.cron, now)))


async def on_schedule_due(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.ScheduleDue)
    schedule = await repository.lock_schedule(session, envelope.task_id)
    if schedule is None or schedule.timer_id != envelope.id:
        return
    if not await repository.principal_may(session, CREATING_SCOPE):
        await _pause(session, schedule)
        return
    due = Firing(message.time.ToDatetime(tzinfo=UTC), message.caught_up)
    planned = plan(schedule.content, due, await repository.get_now(session))
    if planned.fires_for is not None:
        await _fire_or_wait(session, schedule, planned.fires_for)
    await set_timer(session, schedule, planned.following)


async def on_fire_waiting(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.FireWaiting)
    schedule = await repository.lock_schedule(session, envelope.task_id)
    if schedule is None or schedule.waiting is None or schedule.waiting.message_id != envelope.id:
        return
    if not await repository.principal_may(session, CREATING_SCOPE):
        await _pause(session, schedule)
        return
    await repository.set_waiting(session, schedule.schedule_id, None, None)
    await _fire_or_wait(session, replace(schedule, waiting=None), schedule.waiting.time)


async def release_waiting(session: Session, task_id: UUID) -> None:
    """The task has ended; whoever ended it need not be whom the schedule acts for."""
    for message_id in await repository.list_waiting(session, task_id):
        await outbox.hasten(session, message_id)


async def _fire_or_wait(session: Session, schedule: Schedule, time: datetime) -> None:
    policy = schedule.content.overlap_policy
    if policy is OverlapPolicy.ALLOW or await repository.newest_task_has_ended(session, schedule):
        await _fire(session, schedule, time)
    elif policy is OverlapPolicy.QUEUE:
        await _wait(session, schedule, time)
    else:
        await repository.mark_skipped(session, schedule.schedule_id, time, why=OVERLAPS)


async def _wait(session: Session, schedule: Schedule, time: datetime) -> None:
    if schedule.waiting is not None:
        message_id = schedule.waiting.message_id
        await repository.mark_skipped(session, schedule.schedule_id, schedule.waiting.time, why=REPLACED)
    else:
        message_id = await outbox.emit(
            session, events.FireWaiting(), task_id=schedule.schedule_id, to="gateway", due_at=outbox.HELD
        )
    await repository.set_waiting(session, schedule.schedule_id, message_id, time)


async def _fire(session: Session, schedule: Schedule, time: datetime) -> None:
    """A firing that the tenant has no room for is refused, and not made up for."""
    task_id = fired_task_id(schedule.schedule_id, time)
    new = replace(schedule.content.task, request_id=task_id)
    try:
        with telemetry.new_trace("schedule.fire"):
            async with session.connection.transaction():
                await repository.open_scheduled_task(session, task_id)
                await accept_task(session, new, task_id=task_id)
    except QuotaExceeded as error:
        failure = Failure(error.reason.lower(), error.message, error.remedy)
        await repository.mark_fired(session, schedule.schedule_id, time, task_id=None, failure=failure)
        return
    await repository.mark_fired(session, schedule.schedule_id, time, task_id=task_id, failure=None)


async def set_timer(session: Session, schedule: Schedule, firing: Firing) -> None:
    message = events.ScheduleDue(time=timestamp(firing.time), caught_up=firing.caught_up)
    timer_id = await outbox.emit(session, message, task_id=schedule.schedule_id, to="gateway", due_at=firing.time)
    await repository.set_timer(session, schedule.schedule_id, timer_id, next_fire_at=firing.time)


async def withdraw(session: Session, schedule: Schedule) -> None:
    """Nothing of it fires by itself any more."""
    if schedule.timer_id is not None:
        await outbox.withdraw(session, schedule.timer_id)
    if schedule.waiting is not None:
        await outbox.withdraw(session, schedule.waiting.message_id)


async def _pause(session: Session, schedule: Schedule) -> None:
    await withdraw(session, schedule)
    await repository.pause_schedule(session, schedule.schedule_id, failure=MAY_NOT)
    await repository.record(session, "pause", schedule, {"reason": MAY_NOT.reason}, outcome="refused")
