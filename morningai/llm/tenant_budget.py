"""The budget of the tenant whose proof is given, kept by PostgreSQL; no other service is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from morningai.db.session import Database, Parameters
from morningai.errors import DeadlineExceeded, TaskEnded, Unauthenticated
from morningai.llm.errors import BudgetExhausted, ModelUnavailable, TaskLimitReached, Usage

log = structlog.get_logger()

RESERVE: LiteralString = """
SELECT tenancy.reserve(%(call_id)s, %(model)s, %(prompt_tokens)s, %(output_tokens)s,
                       make_interval(secs => %(lifetime_seconds)s)) AS exhausted
"""
# How the limits of the approval policy end.
OF_TASK = "_per_task"
MARK_SENT: LiteralString = "SELECT tenancy.mark_sent(%(call_id)s) AS done"
SETTLE: LiteralString = "SELECT tenancy.settle(%(call_id)s, %(prompt_tokens)s, %(completion_tokens)s) AS done"
RELEASE: LiteralString = "SELECT tenancy.release(%(call_id)s) AS done"


@dataclass(frozen=True)
class TenantBudget:
    database: Database
    proof: str

    async def reserve(
        self, model: str, *, prompt_tokens: int, output_tokens: int, lifetime_seconds: float
    ) -> TenantReservation:
        reservation = TenantReservation(self.database, self.proof, uuid4())
        parameters: Parameters = {
            "call_id": reservation.call_id,
            "model": model,
            "prompt_tokens": prompt_tokens,
            "output_tokens": output_tokens,
            "lifetime_seconds": lifetime_seconds,
        }
        async with self.database.tenant_session(self.proof) as session:
            row = await session.row(RESERVE, parameters)
        exhausted = row["exhausted"] if row is not None else None
        if exhausted:
            raise TaskLimitReached(exhausted) if exhausted.endswith(OF_TASK) else BudgetExhausted(exhausted)
        return reservation


@dataclass(frozen=True)
class TenantReservation:
    database: Database
    proof: str
    call_id: UUID

    async def mark_sent(self) -> None:
        async with self.database.tenant_session(self.proof) as session:
            row = await session.row(MARK_SENT, {"call_id": self.call_id})
        if row is None or not row["done"]:
            raise ModelUnavailable("the call waited for longer than its reservation", attempts=0)

    async def settle(self, usage: Usage) -> None:
        tokens: Parameters = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
        await self._close(SETTLE, tokens)

    async def settle_in_full(self) -> None:
        log.warning("llm.call.charged_in_full", call_id=str(self.call_id))
        await self._close(SETTLE, {"prompt_tokens": None, "completion_tokens": None})

    async def release(self) -> None:
        await self._close(RELEASE, {})

    async def _close(self, query: LiteralString, tokens: Parameters) -> None:
        """What cannot be closed now, the sweep closes: the call has its outcome all the same."""
        try:
            async with self.database.tenant_session(self.proof) as session:
                row = await session.row(query, {"call_id": self.call_id, **tokens})
        except (psycopg.OperationalError, PoolTimeout, Unauthenticated, TaskEnded, DeadlineExceeded) as error:
            log.warning("llm.reservation.left", call_id=str(self.call_id), cause=type(error).__name__)
            return
        if row is None or not row["done"]:
            log.warning("llm.reservation.closed_before", call_id=str(self.call_id))
