"""What the orchestrator does with each message; every handler is one transaction of one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from functools import partial
from uuid import UUID

from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
from morningai.bus.broker import Handlers
from morningai.bus.envelope import Envelope
from morningai.bus.handling import Short
from morningai.db.session import Session
from morningai.errors import Poison
from services.orchestrator import approval_rows, approvals, repository, task_events, workflow
from services.orchestrator.cancellation import cancel, expire, is_being_delivered, lock_or_insert
from services.orchestrator.domain import (
    ApprovalState,
    Priority,
    Step,
    StepName,
    StepResult,
    StepState,
    Task,
    TaskState,
    resend_delay_seconds,
)
from services.orchestrator.nodes import TaskContext, emit_timer
from services.orchestrator.replies import result_of
from services.orchestrator.settings import Settings

REPLIES: tuple[type[Message], ...] = (
    events.SourceIndexed,
    events.AnswerGenerated,
    events.FaqGenerated,
    events.DocumentGenerated,
    events.DocumentPublished,
    events.ChangeGenerated,
    events.ChangeDelivered,
    events.StepFailed,
)
KINDS: Mapping[int, StepName] = {
    api.TASK_KIND_ANSWER: StepName.ANSWER,
    api.TASK_KIND_FAQ: StepName.FAQ,
    api.TASK_KIND_DOCUMENT: StepName.DOCUMENT,
    api.TASK_KIND_CHANGE: StepName.CHANGE,
}


CREATING_SCOPE = "tasks.write"
NOT_PERMITTED = StepResult(
    reason="principal_revoked",
    message="Whoever asked for this task may no longer: the key is revoked or expired, the member is removed, or the "
    "tenant is suspended.",
    remedy="Ask again with a valid key.",
)


def make_handlers(settings: Settings) -> Handlers:
    return {
        events.TaskRequested: Short(partial(on_task_requested, settings)),
        events.CancelTask: Short(on_cancel_task),
        events.ExpireTask: Short(on_expire_task),
        events.StartTask: Short(partial(on_start_task, settings)),
        events.StepTimedOut: Short(partial(on_step_timed_out, settings)),
        events.ApprovalDue: Short(partial(on_approval_due, settings)),
        **{reply: Short(partial(on_reply, settings)) for reply in REPLIES},
    }


async def on_task_requested(settings: Settings, session: Session, envelope: Envelope, message: Message) -> None:
    assert isinstance(message, events.TaskRequested)
    task = Task(
        task_id=envelope.task_id,
        instruction=message.instruction,
        source=message.source,
        kinds=tuple(KINDS[kind] for kind in message.kinds),
        state=TaskState.QUEUED,
        graph_version=workflow.NEWEST_GRAPH,
        traceparent=envelope.traceparent,
        priority=Priority(message.priority or Priority.NORMAL),
        branch=message.branch,
        base_commit=message.base_commit,
    )
    placed = await repository.insert_task(session, task)
    if placed is None:
        return
    if message.HasField("expire_time"):
        expires_at = message.expire_time.ToDatetime(tzinfo=UTC)
        timer_id = await outbox.emit(
            session, events.ExpireTask(), task_id=placed.task_id, to="orchestrator", due_at=expires_at
        )
        await repository.set_expiry(session, placed.task_id, timer_id)
    if placed.state == TaskState.QUEUED:
        await _queue(session, placed)
    else:
        await _start(TaskContext(session, placed, settings))


async def on_start_task(settings: Settings, session: Session, envelope: Envelope, message: Message) -> None:
    """A queued task got a slot; it may have been cancelled meanwhile."""
    task = await repository.lock_task(session, envelope.task_id)
    if task is None:
        raise Poison(f"StartTask {envelope.id} is about a task that was never queued.")
    if task.state == TaskState.ADMITTED:
        await repository.start_task(session, task.task_id)
        await _start(TaskContext(session, replace(task, state=TaskState.RUNNING), settings))


async def _queue(session: Session, task: Task) -> None:
    start_id = await outbox.emit(
        session, events.StartTask(), task_id=task.task_id, to="orchestrator", due_at=outbox.HELD
    )
    await repository.set_start(session, task.task_id, start_id)


async def _start(context: TaskContext) -> None:
    session, task = context.session, context.task
    may = await repository.principal_may(session, CREATING_SCOPE)
    await task_events.emit_started(session, task)
    if may:
        await workflow.start(context)
    else:
        await session.write_rest()  # the timer of its end, which ends with it
        await cancel(session, task, [], cause=NOT_PERMITTED)


async def on_cancel_task(session: Session, envelope: Envelope, message: Message) -> None:
    """A task that is being delivered goes on: who delivers asks again whether it may."""
    assert isinstance(message, events.CancelTask)
    task = await lock_or_insert(session, envelope.task_id)
    steps = await repository.list_steps(session, task.task_id)
    if task.is_open and not is_being_delivered(steps):
        failure = message.failure
        cause = StepResult(reason=failure.reason, message=failure.message, remedy=failure.remedy)
        with telemetry.continued_span("cancel task", task.traceparent):
            await cancel(session, task, steps, cause=cause)


async def on_expire_task(session: Session, envelope: Envelope, message: Message) -> None:
    """A task that is being delivered goes on to its own end."""
    task = await repository.lock_task(session, envelope.task_id)
    if task is None:
        raise Poison(f"ExpireTask {envelope.id} is about a task that was never requested.")
    steps = await repository.list_steps(session, task.task_id)
    if task.is_open and not is_being_delivered(steps):
        await expire(session, task, steps)


async def on_reply(settings: Settings, session: Session, envelope: Envelope, message: Message) -> None:
    if envelope.causation_id is None:
        raise Poison(f"{envelope.type.short_name} {envelope.id} does not name the command it answers.")
    found = await repository.lock_task_and_list_steps(session, envelope.causation_id)
    step = found and _step_of(found[1], envelope.causation_id)
    if found is None or step is None:
        raise Poison(f"{envelope.type.short_name} {envelope.id} answers a command that was never sent.")
    task, steps, _ = found
    await _end_step(TaskContext(session, task, settings), steps, step, result_of(message))


async def on_step_timed_out(settings: Settings, session: Session, envelope: Envelope, message: Message) -> None:
    """Send an unanswered command again; fail the step after its deadline."""
    assert isinstance(message, events.StepTimedOut)
    command_id = UUID(message.command_id)
    found = await repository.lock_task_and_list_steps(session, command_id)
    step = found and _step_of(found[1], command_id)
    if found is None or step is None:
        raise Poison(f"StepTimedOut {envelope.id} names a command that was never sent.")
    task, steps, now = found
    if step.state != StepState.RUNNING or task.state != TaskState.RUNNING:
        return
    if now >= step.deadline:
        await outbox.emit(
            session, events.CancelWork(command_ids=[message.command_id]), task_id=task.task_id, to=step.service
        )
        await _end_step(TaskContext(session, task, settings), steps, step, _timed_out(step))
        return
    await outbox.send_again(session, command_id)
    waited_seconds = (now - step.started_at).total_seconds()
    left_seconds = (step.deadline - now).total_seconds()
    delay_seconds = min(resend_delay_seconds(waited_seconds, first=settings.resend_seconds), left_seconds)
    timer_id = await emit_timer(session, task, command_id=message.command_id, delay_seconds=delay_seconds)
    await repository.set_timer(session, task.task_id, step.step, timer_id)


async def on_approval_due(settings: Settings, session: Session, envelope: Envelope, message: Message) -> None:
    """A request was decided, or its time is over: the task goes on, if whoever asked for it still may."""
    assert isinstance(message, events.ApprovalDue)
    task = await repository.lock_task(session, envelope.task_id)
    found = await approval_rows.get_approval(session, UUID(message.approval_id))
    if task is None or found is None:
        raise Poison(f"ApprovalDue {envelope.id} names a request that was never made.")
    approval, now = found
    if approval.state == ApprovalState.APPROVED and not await repository.principal_may(session, CREATING_SCOPE):
        if task.is_open:
            await cancel(session, task, await repository.list_steps(session, task.task_id), cause=NOT_PERMITTED)
        return
    result = await approvals.settle(session, task, approval, now)
    if result is not None:
        context = TaskContext(session, replace(task, state=TaskState.RUNNING), settings)
        await workflow.resume(context, {approval.subject.kind.value: result})


async def _end_step(context: TaskContext, steps: Sequence[Step], step: Step, result: StepResult) -> None:
    session, task = context.session, context.task
    if task.state != TaskState.RUNNING:
        return
    found = await repository.end_step(session, task.task_id, step.step, state=StepState(result["state"]), result=result)
    if found is None:
        return
    ended, number = found
    await task_events.emit_step(session, task, ended, number)
    wave = [ended if other.step == ended.step else other for other in steps if other.wave == ended.wave]
    if all(other.state != StepState.RUNNING for other in wave):
        await workflow.resume(context, {other.step.value: other.result for other in wave})


def _step_of(steps: Sequence[Step], command_id: UUID) -> Step | None:
    """None for a command that was sent once and is its step's no more."""
    return next((step for step in steps if step.command_id == command_id), None)


def _timed_out(step: Step) -> StepResult:
    return StepResult(
        state=StepState.FAILED,
        reason="step_timed_out",
        message=f"{step.service} did not answer before the step's deadline.",
        remedy="Look at the service's log, then create the task again.",
    )
