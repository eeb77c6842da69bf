"""Requests for approval: written by the graph, decided by a person once, and settled by a message of the task itself.

A decision changes the request and lets its timer fire; what it lets happen, happens under the timer's seal, which is
that of whoever asked for the task. So nobody's rights but theirs are used, and both sides' are checked once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.db.session import Session
from morningai.errors import Conflict, FailedPrecondition, InvalidInput, NotFound, PermissionDenied
from services.orchestrator import approval_rows, repository, task_events
from services.orchestrator.domain import (
    Approval,
    ApprovalKind,
    ApprovalState,
    StepResult,
    StepState,
    Subject,
    Task,
    TaskState,
    principal_name,
    principal_of,
)

APPROVING_SCOPE = "approvals.write"
ACTIONS = {ApprovalState.APPROVED: "approvals.approve", ApprovalState.REJECTED: "approvals.reject"}
REMEDY = "`approval list` shows the requests of your tenant."


@dataclass(frozen=True)
class Verdict:
    """A person's decision on a request; an empty etag is that of any state."""

    state: ApprovalState
    etag: str
    reason: str


async def request_approval(session: Session, task: Task, subject: Subject, *, lifetime_seconds: int) -> None:
    """Write the request with its expiry; the task waits, and holds nothing."""
    approval_id = await approval_rows.new_approval_id(session)
    timer_id = await _emit_timer(session, task.task_id, approval_id, delay_seconds=lifetime_seconds)
    approval = await approval_rows.insert_approval(
        session,
        task.task_id,
        subject,
        approval_id=approval_id,
        timer_id=timer_id,
        lifetime_seconds=lifetime_seconds,
    )
    await repository.set_task_state(session, task.task_id, TaskState.WAITING_FOR_APPROVAL)
    await task_events.emit_approval(session, task, approval)


async def decide(session: Session, approval_id: UUID, verdict: Verdict) -> Approval:
    """In the session of whoever decides. The same decision again changes nothing."""
    _, approval, now = await _lock(session, approval_id)
    if approval.state == verdict.state and approval.decider == session.principal:
        return approval
    await _check_open(session, approval, now, etag=verdict.etag)
    _check_assigned(session, approval)
    if verdict.state == ApprovalState.APPROVED:
        await _check_other_than_requester(session, approval)
    decided = await approval_rows.decide_approval(
        session, approval_id, verdict.state, decider=session.principal, reason=verdict.reason
    )
    await approval_rows.record(session, ACTIONS[verdict.state], approval, {"reason": verdict.reason})
    await outbox.hasten(session, approval.timer_id)
    return decided


async def delegate(session: Session, approval_id: UUID, name: str, *, etag: str) -> Approval:
    """Leave the decision to one member or key, who may decide it at this moment."""
    task, approval, now = await _lock(session, approval_id)
    await _check_open(session, approval, now, etag=etag)
    assignee = principal_of(name)
    if assignee is None or not await approval_rows.may_now(session, assignee, APPROVING_SCOPE):
        raise InvalidInput(
            "assignee",
            f"is nobody of this tenant with the scope '{APPROVING_SCOPE}'.",
            remedy="Use members/… or apiKeys/… of an owner, an admin, or a key with that scope.",
        )
    delegated = await approval_rows.delegate_approval(session, approval_id, assignee)
    await approval_rows.record(
        session, "approvals.delegate", approval, {"assignee": assignee, "old_assignee": approval.assignee}
    )
    await task_events.emit_delegated(session, task, delegated)
    return delegated


async def settle(session: Session, task: Task, approval: Approval, now: datetime) -> StepResult | None:
    """What the request came to, for the task to go on with; None while it waits. The task's row is locked."""
    if approval.settled_at is not None or task.state != TaskState.WAITING_FOR_APPROVAL:
        return None
    if approval.state == ApprovalState.PENDING:
        if now < approval.expires_at:
            await _wait_again(session, approval, now)
            return None
        approval = await approval_rows.settle_approval(session, approval.approval_id, ApprovalState.EXPIRED)
    elif not await approval_rows.may_now(session, approval.decider, APPROVING_SCOPE):
        await _void(session, task, approval, now)
        return None
    else:
        approval = await approval_rows.settle_approval(session, approval.approval_id, approval.state)
    await repository.set_task_state(session, task.task_id, TaskState.RUNNING)
    await task_events.emit_approval(session, task, approval)
    if approval.state == ApprovalState.APPROVED and approval.subject.kind == ApprovalKind.SPENDING:
        await approval_rows.lift_task_limit(session)
    return result_of(approval)


async def withdraw(session: Session, task: Task) -> None:
    """A task that ends otherwise asks for nothing any more."""
    approval = await approval_rows.get_open_approval(session, task.task_id)
    if approval is not None:
        await approval_rows.settle_approval(session, approval.approval_id, ApprovalState.WITHDRAWN)
        await outbox.withdraw(session, approval.timer_id)


def result_of(approval: Approval) -> StepResult:
    """As the graph keeps it among the results."""
    if approval.state == ApprovalState.APPROVED:
        return StepResult(state=StepState.SUCCEEDED.value)
    failed = StepState.FAILED.value
    if approval.state == ApprovalState.REJECTED:
        return StepResult(
            state=failed,
            reason="approval_rejected",
            message=f"{principal_name(approval.decider)} rejected this: {approval.reason}",
            remedy="Ask again for what would be approved.",
        )
    return StepResult(
        state=failed,
        reason="approval_expired",
        message=f"Nobody decided about {approval.name} in time.",
        remedy="Ask again, and tell who may approve it.",
    )


async def _void(session: Session, task: Task, approval: Approval, now: datetime) -> None:
    """Whoever decided may no longer: it does not count, and the request waits as before."""
    details: dict[str, object] = {"reason": "principal_revoked", "decider": approval.decider}
    await approval_rows.record(session, ACTIONS[approval.state], approval, details, outcome="refused")
    await task_events.emit_approval(session, task, await _wait_again(session, approval, now))


async def _wait_again(session: Session, approval: Approval, now: datetime) -> Approval:
    left_seconds = max((approval.expires_at - now).total_seconds(), 0.0)
    timer_id = await _emit_timer(session, approval.task_id, approval.approval_id, delay_seconds=left_seconds)
    return await approval_rows.wait_again(session, approval.approval_id, timer_id)


async def _lock(session: Session, approval_id: UUID) -> tuple[Task, Approval, datetime]:
    """The task's row first, as every writer of a task takes it. Raises NotFound."""
    task_id = await approval_rows.find_task(session, approval_id)
    task = await repository.lock_task(session, task_id) if task_id else None
    found = await approval_rows.get_approval(session, approval_id)
    if task is None or found is None:
        raise NotFound("approval", f"approvals/{approval_id}", remedy=REMEDY)
    return task, *found


async def _check_open(session: Session, approval: Approval, now: datetime, *, etag: str) -> None:
    """Raises PermissionDenied, FailedPrecondition, or Conflict for a request that changed since it was read."""
    if not await repository.principal_may(session, APPROVING_SCOPE):
        raise PermissionDenied(f"You do not hold the scope '{APPROVING_SCOPE}' any more.")
    if approval.state != ApprovalState.PENDING:
        raise FailedPrecondition(f"{approval.name} is {approval.state} already.")
    if now >= approval.expires_at:
        raise FailedPrecondition(f"{approval.name} has expired.", remedy="Ask for the task again.")
    if etag and etag != approval.etag:
        raise Conflict(f"{approval.name} has changed since it was read.", remedy="Read it again, then decide.")


def _check_assigned(session: Session, approval: Approval) -> None:
    if approval.assignee and approval.assignee != session.principal:
        raise PermissionDenied(
            f"{approval.name} was left to {principal_name(approval.assignee)}.",
            remedy="Delegate it to yourself first, if you are to decide it.",
        )


async def _check_other_than_requester(session: Session, approval: Approval) -> None:
    if not await approval_rows.stand_behind_the_same(session, session.principal, approval.requester):
        return
    policy = await approval_rows.get_policy(session)
    if not policy.self_approval:
        raise PermissionDenied(
            "Whoever asked for a task does not approve it, and neither does a key of theirs.",
            remedy="Have somebody else approve it, or have an owner allow it: `policy set --self-approval`.",
        )


async def _emit_timer(session: Session, task_id: UUID, approval_id: UUID, *, delay_seconds: float) -> UUID:
    message = events.ApprovalDue(approval_id=str(approval_id))
    return await outbox.emit(session, message, task_id=task_id, to="orchestrator", delay_seconds=delay_seconds)
