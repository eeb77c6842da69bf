"""TaskService: created and read here, cancelled and decided at the orchestrator."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

import grpc
import structlog
from google.protobuf.message import Message

from morningai.api.tasks.v1 import approvals_pb2 as approvals
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.db.session import Database, Session
from morningai.deadline import seconds_left
from morningai.errors import InvalidInput, NotFound
from morningai.rpc.call import CURRENT_CALL, Context, rpc_session
from morningai.rpc.channel import proof_metadata
from morningai.rpc.pages import page_limit, page_of, read_token, write_token
from morningai.rpc.server import Prove
from services.gateway.acceptance import accept_task
from services.gateway.domain.tasks import NewTask, Place, Task, TaskState
from services.gateway.feed import Feed
from services.gateway.forwarder import abort_as
from services.gateway.grpc_api.task_sources import TaskSources
from services.gateway.messages import new_task_of, task_message
from services.gateway.repository import tasks as repository

log = structlog.get_logger()

R = TypeVar("R")

LARGEST_PAGE = 500
LARGEST_SEQUENCE = 2**63 - 1
TRACE_ID = re.compile(r"[0-9a-f]{32}")
LONGEST_LOOK_SECONDS = 2.0
TASK_REMEDY = "`task list` shows the tasks of your tenant."


class TaskServicer(tasks_pb2_grpc.TaskServiceServicer):
    def __init__(
        self,
        database: Database,
        feed: Feed,
        *,
        prove: Prove,
        docs: grpc.aio.Channel,
        orchestrator: grpc.aio.Channel,
    ) -> None:
        self._database = database
        self._feed = feed
        self._prove = prove
        self._task_sources = TaskSources(docs)
        self._orchestrator = tasks_pb2_grpc.TaskServiceStub(orchestrator)

    async def CreateTask(self, request: api.CreateTaskRequest, context: Context) -> api.Task:
        new = new_task_of(request)
        await self._task_sources.check(new, context, field="task")
        async with rpc_session(self._database) as session:
            task = await accept_task(session, new, task_id=uuid4())
            if task is None:
                task = _same(await repository.get_task_of_request(session, new.request_id), new)
        return task_message(task)

    async def GetTask(self, request: api.GetTaskRequest, context: Context) -> api.Task:
        async with rpc_session(self._database) as session:
            task = await _get(session, request.name)
            tenant_id = session.tenant_id
        message = task_message(task)
        for step in message.steps:
            if step.state == api.STEP_STATE_RUNNING:
                step.MergeFrom(api.Step(progress=self._feed.progress_of(tenant_id, task.task_id, step.step)))
        if task.state == TaskState.QUEUED:
            await self._add_queue_place(message)
        return message

    async def ListTasks(self, request: api.ListTasksRequest, context: Context) -> api.ListTasksResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE)
        before = read_token(request.page_token, "tasks", _task_key)
        async with rpc_session(self._database) as session:
            tasks = await repository.list_tasks(session, before=before, limit=limit + 1)
        page = page_of(map(task_message, tasks), limit)
        token = write_token("tasks", *tasks[len(page) - 1].key) if len(page) < len(tasks) else ""
        return api.ListTasksResponse(tasks=page, next_page_token=token)

    async def WatchTask(self, request: api.WatchTaskRequest, context: Context) -> AsyncIterator[api.TaskEvent]:
        if request.after_sequence < 0:
            raise InvalidInput("after_sequence", "is negative.", remedy="Use 0 for all events.")
        async with rpc_session(self._database) as session:
            task = await _get(session, request.name)
            ticks_of = session.tenant_id if request.progress else None
        prove = partial(self._prove, context)
        async for event in self._feed.events(
            self._database, prove, task.task_id, after=request.after_sequence, ticks_of=ticks_of
        ):
            yield event

    async def ListTaskEvents(self, request: api.ListTaskEventsRequest, context: Context) -> api.ListTaskEventsResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE, default=LARGEST_PAGE)
        listing = f"events of {request.name or request.trace_id}"
        task_id = (await self._get(request.name)).task_id if request.name else None
        trace_id = None if request.name else _trace_id(request.trace_id)
        after = read_token(request.page_token, listing, _place)
        async with rpc_session(self._database) as session:
            kept = await repository.list_kept(session, task_id=task_id, trace_id=trace_id, after=after, limit=limit + 1)
        page = page_of((api.TaskEvent.FromString(event.content) for event in kept), limit)
        token = write_token(listing, *kept[len(page) - 1].place) if len(page) < len(kept) else ""
        return api.ListTaskEventsResponse(events=page, next_page_token=token)

    async def CancelTask(self, request: api.CancelTaskRequest, context: Context) -> api.CancelTaskResponse:
        await self._get(request.name)
        return await _forwarded(self._orchestrator.CancelTask, request, context)

    async def ListApprovals(
        self, request: approvals.ListApprovalsRequest, context: Context
    ) -> approvals.ListApprovalsResponse:
        if request.task:
            await self._get(request.task)
        return await _forwarded(self._orchestrator.ListApprovals, request, context)

    async def GetApproval(self, request: approvals.GetApprovalRequest, context: Context) -> approvals.Approval:
        return await _forwarded(self._orchestrator.GetApproval, request, context)

    async def ApproveTask(self, request: approvals.ApproveTaskRequest, context: Context) -> approvals.Approval:
        return await _forwarded(self._orchestrator.ApproveTask, request, context)

    async def RejectTask(self, request: approvals.RejectTaskRequest, context: Context) -> approvals.Approval:
        return await _forwarded(self._orchestrator.RejectTask, request, context)

    async def DelegateApproval(
        self, request: approvals.DelegateApprovalRequest, context: Context
    ) -> approvals.Approval:
        return await _forwarded(self._orchestrator.DelegateApproval, request, context)

    async def _get(self, name: str) -> Task:
        async with rpc_session(self._database) as session:
            return await _get(session, name)

    async def _add_queue_place(self, task: api.Task) -> None:
        """The orchestrator knows it; without it the task is told all the same."""
        timeout_seconds = min(seconds_left() or LONGEST_LOOK_SECONDS, LONGEST_LOOK_SECONDS)
        metadata = proof_metadata(CURRENT_CALL.get().proof)
        try:
            known = await self._orchestrator.GetTask(
                api.GetTaskRequest(name=task.name), metadata=metadata, timeout=timeout_seconds
            )
        except grpc.aio.AioRpcError as error:
            log.warning("gateway.queue_place.unknown", code=error.code().name)
            return
        if known.HasField("queue_place"):
            task.queue_place.CopyFrom(known.queue_place)


async def _get(session: Session, name: str) -> Task:
    task = await repository.get_task(session, task_id_of(name))
    if task is None:
        raise NotFound("task", name, remedy=TASK_REMEDY)
    return task


async def _forwarded(method: Callable[..., Awaitable[R]], request: Message, context: Context) -> R:
    """What the orchestrator, who alone changes a running task, answers."""
    try:
        return await method(request, metadata=proof_metadata(CURRENT_CALL.get().proof), timeout=seconds_left())
    except grpc.aio.AioRpcError as error:
        await abort_as(context, error)
        raise


def _same(task: Task, new: NewTask) -> Task:
    """A repeated request gives the same task; the same id with other content is a mistake of the caller."""
    accepted = (task.instruction, task.source, task.kinds, task.priority, task.branch, task.ttl)
    if accepted != (new.instruction, new.source, new.kinds, new.priority, new.branch_of(task.task_id), new.ttl):
        raise InvalidInput("request_id", "was used for another task.", remedy="Send a new UUID.")
    return task


def task_id_of(name: str) -> UUID:
    """Raises NotFound."""
    try:
        return UUID(name.removeprefix("tasks/"))
    except ValueError as error:
        raise NotFound("task", name, remedy=TASK_REMEDY) from error


def _trace_id(trace_id: str) -> str:
    if not TRACE_ID.fullmatch(trace_id):
        raise InvalidInput("trace_id", "is not one.", remedy="Give 32 hexadecimal digits, or the name of a task.")
    return trace_id


def _task_key(time: str, task_id: str) -> tuple[datetime, UUID]:
    return _moment(time), UUID(task_id)


def _place(began: str, task_id: str, sequence: str) -> Place:
    return Place(_moment(began), UUID(task_id), min(int(sequence), LARGEST_SEQUENCE))


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
