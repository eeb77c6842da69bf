"""The part of TaskService that changes a running task; the gateway forwards it here."""

from __future__ import annotations

from uuid import UUID

from morningai import telemetry
from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.bus import outbox
from morningai.db.session import Database, Session
from morningai.errors import Conflict, FailedPrecondition, NotFound
from morningai.rpc.call import Context, rpc_session
from services.orchestrator import repository, task_events
from services.orchestrator.domain import End, Step, StepName, StepResult, StepState, Task, TaskState


class TaskServicer(tasks_pb2_grpc.TaskServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def CancelTask(self, request: api.CancelTaskRequest, context: Context) -> api.CancelTaskResponse:
        task_id = _task_id(request.name)
        async with rpc_session(self._database) as session:
            task = await repository.lock_task(session, task_id)
            if task is None:
                raise Conflict(f"{request.name} has not started yet.", remedy="Try again in a second.")
            steps = await repository.list_steps(session, task_id)
            _check_can_be_cancelled(request.name, task, steps)
            with telemetry.continued_span("cancel task", task.traceparent):
                await _cancel(session, task, [step for step in steps if step.state == StepState.RUNNING])
        return api.CancelTaskResponse()


def _check_can_be_cancelled(name: str, task: Task, steps: list[Step]) -> None:
    if task.state != TaskState.RUNNING:
        raise FailedPrecondition(f"{name} has ended already ({task.state}).")
    if any(step.step == StepName.PUBLISH for step in steps):
        raise FailedPrecondition(f"{name} is being delivered and cannot be cancelled any more.")


async def _cancel(session: Session, task: Task, running: list[Step]) -> None:
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
    await repository.end_task(session, task.task_id, TaskState.CANCELLED)
    await task_events.emit_end(session, task, End(TaskState.CANCELLED, StepResult()))


def _task_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("tasks/"))
    except ValueError as error:
        raise NotFound("task", name) from error
