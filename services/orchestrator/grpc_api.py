"""The part of TaskService that changes a running task; the gateway forwards it here."""

from __future__ import annotations

from uuid import UUID

from morningai import telemetry
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.db.session import Database
from morningai.errors import Conflict, FailedPrecondition, NotFound
from morningai.rpc.call import Context, rpc_session
from services.orchestrator import repository
from services.orchestrator.cancellation import cancel, is_being_delivered
from services.orchestrator.domain import Step, Task, TaskState


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
                await cancel(session, task, steps)
        return api.CancelTaskResponse()


def _check_can_be_cancelled(name: str, task: Task, steps: list[Step]) -> None:
    if task.state != TaskState.RUNNING:
        raise FailedPrecondition(f"{name} has ended already ({task.state}).")
    if is_being_delivered(steps):
        raise FailedPrecondition(f"{name} is being delivered and cannot be cancelled any more.")


def _task_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("tasks/"))
    except ValueError as error:
        raise NotFound("task", name) from error
