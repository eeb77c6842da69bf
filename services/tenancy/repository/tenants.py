"""Tenancy's rows."""

from __future__ import annotations

from uuid import UUID

import psycopg

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
    return Tenant(row["tenant_id"], row["slug"], row["display_name"], row["created_at"]) if row else None
