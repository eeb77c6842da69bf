"""Rows of limits and usage."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from psycopg.rows import DictRow

from morningai.db.queries import load_queries
from morningai.db.session import Parameters, Session
from services.tenancy.domain.usage import Group, Limit, Period, Price, Used

QUERIES = load_queries(__file__)


async def list_usage(session: Session, group: Group, period: Period, *, limit: int) -> list[Used]:
    parameters: Parameters = {"group": group, "start": period.start, "end": period.end, "limit": limit}
    return [Used(**row) for row in await session.rows(QUERIES["list_usage"], parameters)]


async def get_total(session: Session, period: Period) -> Used:
    row = await session.row(QUERIES["get_total"], {"start": period.start, "end": period.end})
    assert row is not None
    return Used(**row)


async def list_limits(session: Session) -> list[Limit]:
    return _limits(await session.rows(QUERIES["list_limits"], {"tenant_id": session.tenant_id}))


async def set_own_limit(session: Session, name: str, value: int | None) -> bool:
    """False when it is no budget."""
    return await _done(session, QUERIES["set_own_limit"], {"name": name, "value": value})


async def set_operator_limit(session: Session, tenant_id: UUID, name: str, value: int | None) -> bool:
    """False when there is no such tenant or limit."""
    parameters: Parameters = {"tenant_id": tenant_id, "name": name, "value": value}
    return await _done(session, QUERIES["set_operator_limit"], parameters)


async def list_operator_limits(session: Session, tenant_id: UUID) -> list[Limit]:
    """Empty when there is no such tenant."""
    return _limits(await session.rows(QUERIES["list_operator_limits"], {"tenant_id": tenant_id}))


async def set_model_price(session: Session, price: Price) -> None:
    await session.row(QUERIES["set_model_price"], dict(vars(price)))


def _limits(rows: list[DictRow]) -> list[Limit]:
    return [Limit(**row) for row in rows]


async def _done(session: Session, query: LiteralString, parameters: Parameters) -> bool:
    row = await session.row(query, parameters)
    return row is not None and bool(row["done"])
