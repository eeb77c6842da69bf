"""The part of TaskService that the gateway asks the orchestrator for: cancelling, and where a queued task stands."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg

from morningai import telemetry
from morningai.api.tasks.v1 import approvals_pb2, tasks_pb2_grpc
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.db.session import Database, Session
from morningai.errors import FailedPrecondition, InvalidInput, NotFound, plain
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.pages import page_limit, page_of, read_token, write_token
from morningai.rpc.time import timestamp
from services.orchestrator import approval_rows, approvals, repository
from services.orchestrator.approvals import Verdict
from services.orchestrator.cancellation import cancel, is_being_delivered, lock_or_insert
from services.orchestrator.domain import ApprovalState, QueuePlace, Step, Task
from services.orchestrator.task_events import approval_message

LARGEST_PAGE = 200
LONGEST_REASON = 1000


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

    async def ListApprovals(
        self, request: approvals_pb2.ListApprovalsRequest, context: Context
    ) -> approvals_pb2.ListApprovalsResponse:
        limit = page_limit(request.page_size, most=LARGEST_PAGE)
        listing = f"approvals of {request.task or 'all'} {request.state}"
        before = read_token(request.page_token, listing, UUID)
        task_id = _task_id(request.task) if request.task else None
        state = _state(request.state)
        async with rpc_session(self._database) as session:
            found = await approval_rows.list_approvals(
                session, before=before, task_id=task_id, state=state, limit=limit + 1
            )
        page = page_of(map(approval_message, found), limit)
        token = write_token(listing, found[len(page) - 1].approval_id) if len(page) < len(found) else ""
        return approvals_pb2.ListApprovalsResponse(approvals=page, next_page_token=token)

    async def GetApproval(self, request: approvals_pb2.GetApprovalRequest, context: Context) -> approvals_pb2.Approval:
        approval_id = _approval_id(request.name)
        async with rpc_session(self._database) as session:
            found = await approval_rows.get_approval(session, approval_id)
        if found is None:
            raise NotFound("approval", request.name, remedy=approvals.REMEDY)
        return approval_message(found[0])

    async def ApproveTask(self, request: approvals_pb2.ApproveTaskRequest, context: Context) -> approvals_pb2.Approval:
        return await self._decide(request.name, Verdict(ApprovalState.APPROVED, request.etag, _reason(request.reason)))

    async def RejectTask(self, request: approvals_pb2.RejectTaskRequest, context: Context) -> approvals_pb2.Approval:
        reason = _reason(request.reason)
        if not reason:
            raise InvalidInput("reason", "is empty.", remedy="Say why, for whoever asked.")
        return await self._decide(request.name, Verdict(ApprovalState.REJECTED, request.etag, reason))

    async def DelegateApproval(
        self, request: approvals_pb2.DelegateApprovalRequest, context: Context
    ) -> approvals_pb2.Approval:
        approval_id = _approval_id(request.name)
        async with rpc_session(self._database) as session:
            delegated = await approvals.delegate(session, approval_id, request.assignee, etag=request.etag)
        return approval_message(delegated)

    async def _decide(self, name: str, verdict: Verdict) -> approvals_pb2.Approval:
        approval_id = _approval_id(name)
        async with rpc_session(self._database) as session:
            return approval_message(await approvals.decide(session, approval_id, verdict))


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


def _approval_id(name: str) -> UUID:
    try:
        return UUID(name.removeprefix("approvals/"))
    except ValueError as error:
        raise NotFound("approval", name, remedy=approvals.REMEDY) from error


def _state(value: approvals_pb2.ApprovalState.ValueType) -> ApprovalState | None:
    """None for requests in any state. Raises InvalidInput for a state that this version does not know."""
    if not value:
        return None
    known = {approvals_pb2.ApprovalState.Value(f"APPROVAL_STATE_{state.upper()}"): state for state in ApprovalState}
    if value not in known:
        raise InvalidInput("state", f"{value} is no state.", remedy=f"Use one of {', '.join(ApprovalState)}.")
    return known[value]


def _reason(text: str) -> str:
    if len(text) > LONGEST_REASON:
        raise InvalidInput(
            "reason", f"has {len(text)} characters.", remedy=f"Say it in at most {LONGEST_REASON} characters."
        )
    return plain(text.strip())
