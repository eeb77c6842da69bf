"""Fires schedules: each timer makes at most one task and the next timer, in one transaction.

With a commit trigger the timer asks docs where the branch is. The answer is kept in the schedule's row and makes the
next timer due at once if there is something new, so that a commit fires like a time does.

A firing may have to wait for the task before it: then its message is held, and that task's end makes it due. The
timer's seal says for whom; PostgreSQL opens no task for somebody who may not ask for one at that moment.
"""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.envelope import Envelope
from morningai.db.session import Session
from morningai.errors import Poison, QuotaExceeded
from morningai.rpc.time import timestamp
from services.gateway.acceptance import accept_task
from services.gateway.domain.schedules import (
    CommitTrigger,
    Cron,
    Firing,
    Occasion,
    OverlapPolicy,
    Schedule,
    Waiting,
    fired_task_id,
    next_poll_seconds,
    next_time,
    plan,
)
from services.gateway.domain.tasks import Failure
from services.gateway.messages import failure_of
from services.gateway.repository import schedules as repository

# A question to docs is sent again until then, and put anew after it.
UNANSWERED = timedelta(minutes=15)
CREATING_SCOPE = "tasks.write"
MAY_NOT = Failure(
    reason="principal_may_not",
    message="Whom the schedule acts for may not create tasks any more: their key is revoked or has expired, they are "
    "no member or have another role, or the tenant is suspended.",
    remedy="Somebody who may create tasks can resume it.",
)
SOURCE_GONE = Failure(
    reason="source_not_found",
    message="The schedule's source does not exist any more.",
    remedy="Add it again and resume the schedule, or delete the schedule.",
)
NOT_ANSWERED = Failure(
    reason="not_answered",
    message="Where the branch is was asked, and not answered in time.",
    remedy="It is asked again; if this stays, an operator finds the cause in the log of docs.",
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
    trigger = schedule.content.trigger
    await set_timer(session, schedule, Firing(next_time(trigger, now) if isinstance(trigger, Cron) else now))


async def on_schedule_due(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.ScheduleDue)
    schedule = await repository.lock_schedule(session, envelope.task_id)
    if schedule is None or schedule.timer_id != envelope.id:
        return
    if not await repository.principal_may(session, CREATING_SCOPE):
        await _pause(session, schedule, MAY_NOT)
        return
    now = await repository.get_now(session)
    trigger = schedule.content.trigger
    if isinstance(trigger, Cron):
        due = Firing(message.time.ToDatetime(tzinfo=UTC), message.caught_up)
        planned = plan(trigger, schedule.content.missed_policy, due, now)
        if planned.fires_for is not None:
            await _fire_or_wait(session, schedule, Occasion(planned.fires_for))
        await set_timer(session, schedule, planned.following)
    elif schedule.watch.failure is not None and schedule.watch.failure.reason == SOURCE_GONE.reason:
        await _pause(session, schedule, SOURCE_GONE)
    else:
        await _look(session, schedule, trigger, now)


async def _look(session: Session, schedule: Schedule, trigger: CommitTrigger, now: datetime) -> None:
    watch = schedule.watch
    if watch.found:
        await repository.settle_commit(session, schedule.schedule_id)
        await _fire_or_wait(session, schedule, Occasion(now, watch.found))
    elif watch.check_id is not None and watch.asked_at is not None and now - watch.asked_at < UNANSWERED:
        await outbox.send_again(session, watch.check_id)
    else:
        if watch.check_id is not None:
            await repository.fail_check(session, schedule.schedule_id, watch.check_id, NOT_ANSWERED, for_ever=False)
        question = events.CheckSource(source=schedule.content.task.source, branch=trigger.branch)
        check_id = await outbox.emit(session, question, task_id=schedule.schedule_id, to="docs")
        await repository.set_check(session, schedule.schedule_id, check_id)
    seconds = next_poll_seconds(trigger, watch.failed_checks, jitter=random.random())  # noqa: S311
    await set_timer(session, schedule, Firing(now + timedelta(seconds=seconds)))


async def on_source_checked(session: Session, envelope: Envelope, message: Message) -> None:
    """Under the seal of an answer nothing fires: the timer's does."""
    assert isinstance(message, events.SourceChecked)
    if envelope.causation_id is None:
        raise Poison(f"SourceChecked {envelope.id} does not name the question it answers.")
    asked = (session, envelope.task_id, envelope.causation_id)
    if message.source_is_gone:
        timer_id = await repository.fail_check(*asked, SOURCE_GONE, for_ever=True)
    elif message.HasField("failure"):
        timer_id = await repository.fail_check(*asked, failure_of(message.failure), for_ever=False)
    else:
        timer_id = await repository.settle_check(*asked, message.commit)
    if timer_id is not None:
        await outbox.hasten(session, timer_id)


async def on_fire_waiting(session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.FireWaiting)
    schedule = await repository.lock_schedule(session, envelope.task_id)
    if schedule is None or schedule.waiting is None or schedule.waiting.message_id != envelope.id:
        return
    if not await repository.principal_may(session, CREATING_SCOPE):
        await _pause(session, schedule, MAY_NOT)
        return
    await repository.set_waiting(session, schedule.schedule_id, None)
    await _fire_or_wait(session, replace(schedule, waiting=None), schedule.waiting.occasion)


async def release_waiting(session: Session, task_id: UUID) -> None:
    """The task has ended; whoever ended it need not be whom the schedule acts for."""
    for message_id in await repository.list_waiting(session, task_id):
        await outbox.hasten(session, message_id)


async def _fire_or_wait(session: Session, schedule: Schedule, occasion: Occasion) -> None:
    policy = schedule.content.overlap_policy
    if policy is OverlapPolicy.ALLOW or await repository.newest_task_has_ended(session, schedule):
        await _drop_waiting(session, schedule)
        await _fire(session, schedule, occasion)
    elif policy is OverlapPolicy.QUEUE:
        await _wait(session, schedule, occasion)
    else:
        await repository.mark_skipped(session, schedule.schedule_id, occasion.time, why=OVERLAPS)


async def _wait(session: Session, schedule: Schedule, occasion: Occasion) -> None:
    if schedule.waiting is not None:
        message_id = schedule.waiting.message_id
        await repository.mark_skipped(session, schedule.schedule_id, schedule.waiting.occasion.time, why=REPLACED)
    else:
        message_id = await outbox.emit(
            session, events.FireWaiting(), task_id=schedule.schedule_id, to="gateway", due_at=outbox.HELD
        )
    await repository.set_waiting(session, schedule.schedule_id, Waiting(message_id, occasion))


async def _drop_waiting(session: Session, schedule: Schedule) -> None:
    """One that was let go and has not come yet, when a newer one is due."""
    if schedule.waiting is not None:
        await outbox.withdraw(session, schedule.waiting.message_id)
        await repository.mark_skipped(session, schedule.schedule_id, schedule.waiting.occasion.time, why=REPLACED)
        await repository.set_waiting(session, schedule.schedule_id, None)


async def _fire(session: Session, schedule: Schedule, occasion: Occasion) -> None:
    """A firing that the tenant has no room for is refused, and not made up for."""
    task_id, time = fired_task_id(schedule.schedule_id, occasion), occasion.time
    new = replace(schedule.content.task, request_id=task_id, base_commit=occasion.commit)
    try:
        with telemetry.new_trace("schedule.fire"):
            async with session.savepoint():
                is_open = await repository.open_scheduled_task(session, task_id)
                accepted = await accept_task(session, new, task_id=task_id) if is_open else None
    except QuotaExceeded as error:
        failure = Failure(error.reason.lower(), error.message, error.remedy)
        await repository.mark_fired(session, schedule.schedule_id, time, task_id=None, failure=failure)
        return
    if accepted is not None:
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


async def _pause(session: Session, schedule: Schedule, why: Failure) -> None:
    await withdraw(session, schedule)
    await repository.pause_schedule(session, schedule.schedule_id, failure=why)
    await repository.record(session, "pause", schedule, {"reason": why.reason}, outcome="refused")
