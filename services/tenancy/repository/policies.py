"""The row of a tenant's approval policy, through the functions that hold to who may set it."""

from __future__ import annotations

from morningai.db.queries import load_queries
from morningai.db.session import Session
from services.tenancy.domain.policies import ApprovalPolicy

QUERIES = load_queries(__file__)


async def get_policy(session: Session) -> ApprovalPolicy:
    row = await session.row(QUERIES["get_approval_policy"])
    assert row is not None
    return ApprovalPolicy(**row)


async def set_policy(session: Session, policy: ApprovalPolicy) -> None:
    await session.execute(QUERIES["set_approval_policy"], {**vars(policy)})
