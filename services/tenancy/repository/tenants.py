"""Tenancy's rows."""

from __future__ import annotations

from uuid import UUID

import psycopg

from morningai.bus.outbox import Command
from morningai.db.queries import load_queries
from morningai.db.session import Session
from morningai.errors import AlreadyExists, PermissionDenied
from services.tenancy.domain.keys import PresentableKey
from services.tenancy.domain.principals import ALL_SCOPES
from services.tenancy.domain.tenants import Tenant

QUERIES = load_queries(__file__)


async def create_tenant(session: Session, *, slug: str, display_name: str, key: PresentableKey) -> UUID:
    """Raises AlreadyExists, or PermissionDenied when the session is not an operator's."""
    parameters: dict[str, object] = {
        "slug": slug,
        "display_name": display_name,
        "key_id": key.key_id,
        "secret": key.secret,
        "scopes": sorted(ALL_SCOPES),
    }
    try:
        row = await session.row(QUERIES["create_tenant"], parameters)
    except psycopg.errors.UniqueViolation as error:
        raise AlreadyExists("tenant", slug, remedy="Choose another name.") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionDenied("Only an operator creates tenants.") from error
    assert row is not None
    return UUID(str(row["tenant_id"]))


async def get_tenant(session: Session, tenant_id: UUID) -> Tenant | None:
    row = await session.row(QUERIES["get_tenant"], {"tenant_id": tenant_id})
    return Tenant(**row) if row else None


async def update_tenant(session: Session, *, display_name: str) -> Tenant:
    """The session's own."""
    await session.execute(QUERIES["update_tenant"], {"display_name": display_name})
    tenant = await get_tenant(session, session.tenant_id)
    assert tenant is not None
    return tenant


async def list_tenants(session: Session, *, after: str, limit: int) -> list[Tenant]:
    """By slug; in an operator's session."""
    return [Tenant(**row) for row in await session.rows(QUERIES["list_tenants"], {"after": after, "limit": limit})]


async def suspend_tenant(session: Session, tenant_id: UUID) -> Tenant | None:
    """In an operator's session."""
    return await _change_state(session, "suspend_tenant", tenant_id)


async def send_to_open_tasks(session: Session, tenant_id: UUID, command: Command) -> None:
    """In an operator's session: the same command to each task of the tenant that has not ended."""
    await session.execute(QUERIES["send_to_open_tasks"], {"tenant_id": tenant_id, **vars(command)})
    session.wakes_relay = True


async def resume_tenant(session: Session, tenant_id: UUID) -> Tenant | None:
    """In an operator's session."""
    return await _change_state(session, "resume_tenant", tenant_id)


async def _change_state(session: Session, query: str, tenant_id: UUID) -> Tenant | None:
    await session.execute(QUERIES[query], {"tenant_id": tenant_id})
    row = await session.row(QUERIES["get_tenant_of_operator"], {"tenant_id": tenant_id})
    return Tenant(**row) if row else None
