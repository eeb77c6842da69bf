"""API keys, which tenancy looks up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from morningai.db.queries import load_queries
from morningai.db.session import Database

QUERIES = load_queries(__file__)


async def authenticate(database: Database, key: str) -> str | None:
    """The grant for an API key, or None."""
    async with database.connection() as connection:
        row = await (await connection.execute(QUERIES["authenticate"], {"key": key})).fetchone()
    return row["grant"] if row else None


async def note_key_uses(database: Database, uses: Mapping[str, datetime]) -> None:
    async with database.connection() as connection:
        await connection.execute(QUERIES["note_key_uses"], {"key_ids": list(uses), "times": list(uses.values())})
