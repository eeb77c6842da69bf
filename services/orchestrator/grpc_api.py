"""The part of TaskService that the gateway asks the orchestrator for: cancelling, and where a queued task stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg

from morningai import telemetry
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.db.session import Database, Session
from morningai.errors import FailedPrecondition, NotFound
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import timestamp
from services.orchestrator import repository
from services.orchestrator.cancellation import cancel, is_being_delivered, lock_or_insert
from services.orchestrator.domain import QueuePlace, Step, Task


class TaskServicer(tasks_pb2_grpc.TaskServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def GetTask(self, request: api.GetTaskRequest, context: Context) -> api.Task:
        """What the gateway's tables do not say of a task: its place in the queue."""
        async with rpc_session(self._database) as session:
            place = await repository.get_queue_place(session, _task_id(request.name))
        return api.Task(name=request.name, queue_place=_queue_place(place))

    async def CancelTask(self, request: api.CancelTaskRequest, context: Context) -> api.CancelTaskResponse:
        task_id = _task_id(request.name)
        async with _session_of_accepted(self._database, request.name) as session:
            task = await lock_or_insert(session, task_id)
            steps = await repository.list_steps(session, task_id)
            _check_can_be_cancelled(request.name, task, steps)
            with telemetry.continued_span("cancel task", task.traceparent):
                await cancel(session, task, steps)
        return api.CancelTaskResponse()


def _check_can_be_cancelled(name: str, task: Task, steps: list[Step]) -> None:
    if not task.is_open:
        raise FailedPrecondition(f"{name} has ended already ({task.state}).")
    if is_being_delivered(steps):
        raise FailedPrecondition(f"{name} is being delivered and cannot be cancelled any more.")


@asynccontextmanager
async def _session_of_accepted(database: Database, name: str) -> AsyncIterator[Session]:
    """The outbox takes no message of a task that was never accepted."""
    try:
        async with rpc_session(database) as session:
            yield session
    except psycopg.errors.InsufficientPrivilege as error:
        raise NotFound("task", name) from error


def _queue_place(place: QueuePlace | None) -> api.QueuePlace | None:
    if place is None:
        return None
    return api.QueuePlace(position=place.position, estimated_start_time=timestamp(place.estimated_start))


def _task_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("tasks/"))
    except ValueError as error:
        raise NotFound("task", name) from error
