"""Ends a task that is not wanted any more: its running steps, the work on them, and the task itself."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.db.session import Session
from services.orchestrator import approvals, repository, task_events
from services.orchestrator.domain import EFFECTS, End, Step, StepResult, StepState, Task, TaskState

NO_CAUSE = StepResult()
OVERDUE = StepResult(
    reason="task_expired",
    message="The task had not ended when its time to live was over.",
    remedy="Ask again with a longer time to live, or without one.",
)
# Of a task that never ran.
NO_GRAPH = 0


def is_being_delivered(steps: Sequence[Step]) -> bool:
    return any(step.step in EFFECTS for step in steps)


async def lock_or_insert(session: Session, task_id: UUID) -> Task:
    """The task to cancel. One whose request has not come yet is written down, so that it never starts."""
    task = await repository.lock_task(session, task_id)
    if task is None:
        unseen = Task(task_id, "", "", (), TaskState.QUEUED, NO_GRAPH, telemetry.current_traceparent())
        task = await repository.insert_task(session, unseen) or await repository.lock_task(session, task_id)
    assert task is not None
    return task


async def cancel(session: Session, task: Task, steps: Sequence[Step], *, cause: StepResult = NO_CAUSE) -> None:
    """`cause` says why, where it was not whoever asked for the task."""
    await _end(session, task, steps, End(TaskState.CANCELLED, cause))


async def expire(session: Session, task: Task, steps: Sequence[Step]) -> None:
    await _end(session, task, steps, End(TaskState.EXPIRED, OVERDUE))


async def _end(session: Session, task: Task, steps: Sequence[Step], end: End) -> None:
    if task.start_id:
        await outbox.withdraw(session, task.start_id)
    running = [step for step in steps if step.state == StepState.RUNNING]
    for step in running:
        ended = await repository.end_step(
            session, task.task_id, step.step, state=StepState.CANCELLED, result=StepResult()
        )
        if ended:
            await task_events.emit_step(session, task, *ended)
    for service in sorted({step.service for step in running}):
        unwanted = events.CancelWork(command_ids=[str(s.command_id) for s in running if s.service == service])
        await outbox.emit(session, unwanted, task_id=task.task_id, to=service)
    await approvals.withdraw(session, task)
    number = await repository.end_task(session, task.task_id, end.state)
    await task_events.emit_end(session, task, end, number)
