"""Ends a task that is not wanted any more: its running steps, the work on them, and the task itself."""

from __future__ import annotations

from collections.abc import Sequence

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.db.session import Session
from services.orchestrator import approvals, repository, task_events
from services.orchestrator.domain import End, Step, StepName, StepResult, StepState, Task, TaskState

NO_CAUSE = StepResult()


def is_being_delivered(steps: Sequence[Step]) -> bool:
    return any(step.step == StepName.PUBLISH for step in steps)


async def cancel(session: Session, task: Task, steps: Sequence[Step], *, cause: StepResult = NO_CAUSE) -> None:
    """`cause` says why, where it was not whoever asked for the task."""
    running = [step for step in steps if step.state == StepState.RUNNING]
    for step in running:
        ended = await repository.end_step(
            session, task.task_id, step.step, state=StepState.CANCELLED, result=StepResult()
        )
        await outbox.withdraw(session, step.timer_id)
        if ended:
            await task_events.emit_step(session, task, ended)
    for service in sorted({step.service for step in running}):
        unwanted = events.CancelWork(command_ids=[str(s.command_id) for s in running if s.service == service])
        await outbox.emit(session, unwanted, task_id=task.task_id, to=service)
    await approvals.withdraw(session, task)
    await repository.end_task(session, task.task_id, TaskState.CANCELLED)
    await task_events.emit_end(session, task, End(TaskState.CANCELLED, cause))
