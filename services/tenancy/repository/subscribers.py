"""Whose key it is, and whose keys are still good."""

from __future__ import annotations

from collections.abc import Collection
from typing import LiteralString

from morningai.db.queries import load_queries
from morningai.db.session import Database
from morningai.errors import PermissionDenied, Unauthenticated
from services.tenancy.domain.subscribers import KEY_ID, SCOPE, Subscriber

QUERIES = load_queries(__file__)


async def authenticate(database: Database, key: str) -> Subscriber:
    """Raises Unauthenticated, or PermissionDenied when the key may not subscribe."""
    async with database.connection() as connection:
        row = await (await connection.execute(QUERIES["authenticate"], {"key": key})).fetchone()
    if row is None or row["grant"] is None:
        raise Unauthenticated("The API key is not valid.", remedy="Connect with a key of your tenant as the token.")
    async with database.tenant_session(row["grant"]) as session:
        kind, _, key_id = session.principal.partition(":")
        if kind != "key" or SCOPE not in session.scopes or not KEY_ID.fullmatch(key_id):
            raise PermissionDenied(f"The key has no scope {SCOPE}.", remedy=f"Make a key with the scope {SCOPE}.")
        return Subscriber(session.tenant_id, key_id)


async def allowed(database: Database, subscribers: Collection[Subscriber]) -> set[Subscriber]:
    """Those of whom the key, its scope and the tenant are as good as when they came."""
    return await _chosen(database, QUERIES["allowed"], subscribers)


async def ended(database: Database, subscribers: Collection[Subscriber]) -> set[Subscriber]:
    """Those whose key is revoked, has expired or does not exist."""
    return await _chosen(database, QUERIES["ended"], subscribers)


async def _chosen(database: Database, query: LiteralString, subscribers: Collection[Subscriber]) -> set[Subscriber]:
    parameters = {"tenants": [s.tenant_id for s in subscribers], "keys": [s.key_id for s in subscribers]}
    async with database.connection() as connection:
        rows = await (await connection.execute(query, parameters)).fetchall()
    return {Subscriber(row["tenant_id"], row["key_id"]) for row in rows}
