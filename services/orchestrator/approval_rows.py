"""Rows of requests for approval, and what tenancy says of the tenant's policy and of its principals."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from morningai.db.session import Session
from services.orchestrator.domain import Approval, ApprovalKind, ApprovalPolicy, ApprovalState, Subject
from services.orchestrator.repository import QUERIES


async def get_policy(session: Session) -> ApprovalPolicy:
    row = await session.row(QUERIES["approval_policy"])
    assert row is not None
    return ApprovalPolicy(
        publishing=row["publishing"],
        tokens_per_task=row["tokens_per_task"],
        money_per_task=row["money_per_task"],
        self_approval=row["self_approval"],
        lifetime_seconds=row["lifetime_seconds"],
        unapproved_delivery=row["unapproved_delivery"],
    )


async def get_spending(session: Session, task_id: UUID) -> tuple[int, int]:
    """Tokens, and money in millionths."""
    row = await session.row(QUERIES["task_spending"], {"task_id": task_id})
    assert row is not None
    return row["tokens"], row["money"]


async def may_now(session: Session, who: str, scope: str) -> bool:
    """Whether a principal of the tenant holds the scope at this moment."""
    row = await session.row(QUERIES["may_now"], {"who": who, "scope": scope})
    return bool(row and row["may"])


async def stand_behind_the_same(session: Session, one: str, other: str) -> bool:
    """Whether two principals are one person's, or keys that one made."""
    row = await session.row(QUERIES["stand_behind_the_same"], {"one": one, "other": other})
    return bool(row and row["same"])


async def lift_task_limit(session: Session) -> None:
    """The session's task may spend more than the policy's limit."""
    await session.execute(QUERIES["lift_task_limit"])


async def record(
    session: Session, action: str, approval: Approval, details: dict[str, object], *, outcome: str = "succeeded"
) -> None:
    """An entry of the tenant's audit log."""
    told = {"task": f"tasks/{approval.task_id}", "kind": approval.subject.kind, **details}
    parameters: dict[str, object] = {
        "action": action,
        "resource": approval.name,
        "details": Jsonb(told),
        "outcome": outcome,
    }
    await session.execute(QUERIES["record"], parameters)


async def new_approval_id(session: Session) -> UUID:
    """Ids are in the order in which they were made."""
    row = await session.row(QUERIES["new_approval_id"])
    assert row is not None
    return UUID(str(row["approval_id"]))


async def insert_approval(
    session: Session, task_id: UUID, subject: Subject, *, approval_id: UUID, timer_id: UUID, lifetime_seconds: int
) -> Approval:
    row = await session.row(
        QUERIES["insert_approval"],
        {
            "approval_id": approval_id,
            "task_id": task_id,
            "requester": session.principal,
            "timer_id": timer_id,
            "lifetime_seconds": lifetime_seconds,
            **vars(subject),
        },
    )
    assert row is not None
    return _approval(row)


async def find_task(session: Session, approval_id: UUID) -> UUID | None:
    row = await session.row(QUERIES["find_task_of_approval"], {"approval_id": approval_id})
    return row["task_id"] if row else None


async def get_approval(session: Session, approval_id: UUID) -> tuple[Approval, datetime] | None:
    """With the database's time."""
    row = await session.row(QUERIES["get_approval"], {"approval_id": approval_id})
    return (_approval(row), row["now"]) if row else None


async def get_open_approval(session: Session, task_id: UUID) -> Approval | None:
    """What the task waits for."""
    row = await session.row(QUERIES["get_open_approval"], {"task_id": task_id})
    return _approval(row) if row else None


async def list_approvals(
    session: Session, *, before: UUID | None, task_id: UUID | None, state: ApprovalState | None, limit: int
) -> list[Approval]:
    """Newest first."""
    parameters: dict[str, object] = {"before": before, "task_id": task_id, "state": state, "limit": limit}
    return [_approval(row) for row in await session.rows(QUERIES["list_approvals"], parameters)]


async def decide_approval(
    session: Session, approval_id: UUID, state: ApprovalState, *, decider: str, reason: str
) -> Approval:
    parameters: dict[str, object] = {"state": state, "decider": decider, "reason": reason}
    return await _change(session, "decide_approval", approval_id, parameters)


async def delegate_approval(session: Session, approval_id: UUID, assignee: str) -> Approval:
    return await _change(session, "delegate_approval", approval_id, {"assignee": assignee})


async def settle_approval(session: Session, approval_id: UUID, state: ApprovalState) -> Approval:
    return await _change(session, "settle_approval", approval_id, {"state": state})


async def wait_again(session: Session, approval_id: UUID, timer_id: UUID) -> Approval:
    """A decision that does not count leaves no trace but in the audit log."""
    return await _change(session, "wait_again", approval_id, {"timer_id": timer_id})


async def _change(session: Session, query: str, approval_id: UUID, parameters: dict[str, object]) -> Approval:
    row = await session.row(QUERIES[query], {"approval_id": approval_id, **parameters})
    assert row is not None
    return _approval(row)


def _approval(row: DictRow) -> Approval:
    subject = Subject(
        ApprovalKind(row["kind"]),
        summary=row["summary"],
        why=row["why"],
        resource=row["resource"],
        version=row["version"],
        content_hash=row["content_hash"],
    )
    return Approval(
        approval_id=row["approval_id"],
        task_id=row["task_id"],
        subject=subject,
        state=ApprovalState(row["state"]),
        requester=row["requester"],
        assignee=row["assignee"],
        decider=row["decider"],
        reason=row["reason"],
        timer_id=row["timer_id"],
        revision=row["revision"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        decided_at=row["decided_at"],
        settled_at=row["settled_at"],
    )
