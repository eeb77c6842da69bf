"""Writes the `task.*` events, numbered per task in the transaction of the change they report."""

from __future__ import annotations

from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import approvals_pb2 as approvals
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
from morningai.db.session import Session
from morningai.rpc.time import timestamp
from services.orchestrator import repository
from services.orchestrator.domain import (
    Approval,
    ApprovalState,
    End,
    Number,
    Step,
    StepResult,
    Task,
    TaskState,
    principal_name,
)

END_MESSAGES: dict[TaskState, tuple[str, type[Message]]] = {
    TaskState.SUCCEEDED: ("task.succeeded", events.TaskSucceeded),
    TaskState.PARTLY_SUCCEEDED: ("task.partly_succeeded", events.TaskPartlySucceeded),
    TaskState.FAILED: ("task.failed", events.TaskFailed),
    TaskState.CANCELLED: ("task.cancelled", events.TaskCancelled),
    TaskState.EXPIRED: ("task.expired", events.TaskExpired),
}
APPROVAL_MESSAGES: dict[ApprovalState, tuple[str, type[Message]]] = {
    ApprovalState.PENDING: ("task.waiting_for_approval", events.TaskWaitingForApproval),
    ApprovalState.APPROVED: ("task.approved", events.TaskApproved),
    ApprovalState.REJECTED: ("task.rejected", events.TaskRejected),
    ApprovalState.EXPIRED: ("task.approval_expired", events.TaskApprovalExpired),
}


async def emit_started(session: Session, task: Task) -> None:
    event = _event(task, await _next(session, task), "task.started", TaskState.RUNNING)
    await outbox.emit(session, events.TaskStarted(event=event), task_id=task.task_id)


async def emit_step(session: Session, task: Task, step: Step, number: Number) -> None:
    event = _event(task, number, f"step.{'started' if step.ended_at is None else step.state}", task.state)
    event.step.CopyFrom(_step(step))
    await outbox.emit(session, events.TaskStepChanged(event=event), task_id=task.task_id)


async def emit_end(session: Session, task: Task, end: End, number: Number) -> None:
    name, message = END_MESSAGES[end.state]
    event = _event(task, number, name, end.state)
    if failure := _failure(end.cause):
        event.failure.CopyFrom(failure)
    await outbox.emit(session, message(event=event), task_id=task.task_id)


async def emit_approval(session: Session, task: Task, approval: Approval) -> None:
    """That the task waits for the request, or goes on after its end."""
    waiting = approval.state == ApprovalState.PENDING
    name, message = APPROVAL_MESSAGES[approval.state]
    state = TaskState.WAITING_FOR_APPROVAL if waiting else TaskState.RUNNING
    event = _event(task, await _next(session, task), name, state)
    event.approval.CopyFrom(approval_message(approval))
    await outbox.emit(session, message(event=event), task_id=task.task_id)


async def emit_delegated(session: Session, task: Task, approval: Approval) -> None:
    number = await _next(session, task)
    event = _event(task, number, "task.approval_delegated", TaskState.WAITING_FOR_APPROVAL)
    event.approval.CopyFrom(approval_message(approval))
    await outbox.emit(session, events.TaskApprovalDelegated(event=event), task_id=task.task_id)


def approval_message(approval: Approval) -> approvals.Approval:
    subject = approval.subject
    return approvals.Approval(
        name=approval.name,
        task=f"tasks/{approval.task_id}",
        kind=approvals.ApprovalKind.Value(f"APPROVAL_KIND_{subject.kind.upper()}"),
        state=approvals.ApprovalState.Value(f"APPROVAL_STATE_{approval.state.upper()}"),
        requester=principal_name(approval.requester),
        resource=subject.resource,
        version=subject.version,
        content_hash=subject.content_hash,
        summary=subject.summary,
        why=subject.why,
        assignee=principal_name(approval.assignee),
        decider=principal_name(approval.decider),
        reason=approval.reason,
        create_time=timestamp(approval.created_at),
        expire_time=timestamp(approval.expires_at),
        decide_time=timestamp(approval.decided_at),
        etag=approval.etag,
    )


async def _next(session: Session, task: Task) -> Number:
    return await repository.next_number(session, task.task_id)


def _event(task: Task, number: Number, name: str, state: TaskState) -> api.TaskEvent:
    return api.TaskEvent(
        task=f"tasks/{task.task_id}",
        sequence=number.sequence,
        time=timestamp(number.time),
        type=name,
        trace_id=telemetry.current_trace_id(),
        task_state=api.TaskState.Value(f"TASK_STATE_{state.upper()}"),
    )


def _step(step: Step) -> api.Step:
    return api.Step(
        step=step.step,
        service=step.service,
        state=api.StepState.Value(f"STEP_STATE_{step.state.upper()}"),
        start_time=timestamp(step.started_at),
        end_time=timestamp(step.ended_at),
        result=step.result.get("result", ""),
        summary=step.result.get("summary", ""),
        engine=step.result.get("engine", ""),
        model=step.result.get("model", ""),
        failure=_failure(step.result),
        commit=step.result.get("commit", ""),
    )


def _failure(result: StepResult) -> api.Failure | None:
    if not result.get("reason"):
        return None
    return api.Failure(reason=result["reason"], message=result.get("message", ""), remedy=result.get("remedy", ""))
