"""Writes the `task.*` events, numbered per task in the transaction of the change they report."""

from __future__ import annotations

from google.protobuf.message import Message

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
from morningai.db.session import Session
from morningai.rpc.time import timestamp
from services.orchestrator import repository
from services.orchestrator.domain import End, Step, StepResult, Task, TaskState

END_MESSAGES: dict[TaskState, tuple[str, type[Message]]] = {
    TaskState.SUCCEEDED: ("task.succeeded", events.TaskSucceeded),
    TaskState.PARTLY_SUCCEEDED: ("task.partly_succeeded", events.TaskPartlySucceeded),
    TaskState.FAILED: ("task.failed", events.TaskFailed),
    TaskState.CANCELLED: ("task.cancelled", events.TaskCancelled),
}


async def emit_started(session: Session, task: Task) -> None:
    event = await _event(session, task, "task.started", TaskState.RUNNING)
    await outbox.emit(session, events.TaskStarted(event=event), task_id=task.task_id)


async def emit_step(session: Session, task: Task, step: Step) -> None:
    event = await _event(session, task, f"step.{'started' if step.ended_at is None else step.state}", task.state)
    event.step.CopyFrom(_step(step))
    await outbox.emit(session, events.TaskStepChanged(event=event), task_id=task.task_id)


async def emit_end(session: Session, task: Task, end: End) -> None:
    name, message = END_MESSAGES[end.state]
    event = await _event(session, task, name, end.state)
    if failure := _failure(end.cause):
        event.failure.CopyFrom(failure)
    await outbox.emit(session, message(event=event), task_id=task.task_id)


async def _event(session: Session, task: Task, name: str, state: TaskState) -> api.TaskEvent:
    sequence, time = await repository.next_sequence(session, task.task_id)
    return api.TaskEvent(
        task=f"tasks/{task.task_id}",
        sequence=sequence,
        time=timestamp(time),
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
    )


def _failure(result: StepResult) -> api.Failure | None:
    if not result.get("reason"):
        return None
    return api.Failure(reason=result["reason"], message=result.get("message", ""), remedy=result.get("remedy", ""))
