"""Rows of API keys; they are written by functions of PostgreSQL, which look at the caller's scopes again."""

from __future__ import annotations

from datetime import timedelta

import psycopg
from psycopg.rows import DictRow

from morningai.db.queries import load_queries
from morningai.db.quotas import Quota, check_quota
from morningai.db.session import Session
from morningai.errors import FailedPrecondition, NotFound, PermissionDenied
from services.tenancy.domain.keys import KEY_REMEDY, PREFIX, ApiKey, NewApiKey, PresentableKey
from services.tenancy.domain.pages import Page
from services.tenancy.repository.pages import page_parameters

QUERIES = load_queries(__file__)


async def create_key(session: Session, new: NewApiKey, key: PresentableKey) -> ApiKey:
    """Raises PermissionDenied when PostgreSQL finds that the caller may not, QuotaExceeded for a key too many."""
    parameters: dict[str, object] = {
        "key_id": key.key_id,
        "secret": key.secret,
        "display_name": new.display_name,
        "scopes": list(new.scopes),
        "expires_at": new.expires_at,
    }
    try:
        await session.execute(QUERIES["create_key"], parameters)
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionDenied("A key cannot hold more scopes than its creator.") from error
    await check_quota(session, Quota.API_KEYS, QUERIES["count_keys"])
    return await get_key(session, key.key_id)


async def rotate_key(session: Session, key: PresentableKey, overlap: timedelta) -> ApiKey:
    """Raises FailedPrecondition when the key ended meanwhile, or may do more than the caller."""
    parameters: dict[str, object] = {"key_id": key.key_id, "secret": key.secret, "overlap": overlap}
    row = await session.row(QUERIES["rotate_key"], parameters)
    if row is None or not row["rotated"]:
        raise FailedPrecondition(f"{PREFIX}{key.key_id} cannot be rotated.", remedy="Create a new key.")
    return await get_key(session, key.key_id)


async def revoke_key(session: Session, key_id: str) -> ApiKey:
    """Raises NotFound."""
    await session.execute(QUERIES["revoke_key"], {"key_id": key_id})
    return await get_key(session, key_id)


async def get_key(session: Session, key_id: str) -> ApiKey:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_key"], {"key_id": key_id})
    if row is None:
        raise NotFound("api key", PREFIX + key_id, remedy=KEY_REMEDY)
    return _key(row)


async def list_keys(session: Session, page: Page) -> list[ApiKey]:
    """One more than the page holds, if there is one."""
    return [_key(row) for row in await session.rows(QUERIES["list_keys"], page_parameters(page))]


def _key(row: DictRow) -> ApiKey:
    return ApiKey(**{**row, "scopes": tuple(row["scopes"])})
