"""What tenancy's functions say of a caller: the grant for a key, and whether a call is admitted."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import psycopg

from morningai.db.queries import load_queries
from morningai.db.session import Database
from morningai.errors import Unauthenticated
from morningai.rpc.call import CallClass

QUERIES = load_queries(__file__)


async def authenticate(database: Database, key: str) -> str | None:
    """The grant for an API key, or None."""
    async with database.connection() as connection:
        row = await (await connection.execute(QUERIES["authenticate"], {"key": key})).fetchone()
    return row["grant"] if row else None


async def admit(database: Database, proof: str, call_class: CallClass) -> float:
    """Seconds until a call of the class may be made again; 0 when this one is admitted. Raises Unauthenticated."""
    parameters: dict[str, object] = {"proof": proof, "call_class": call_class}
    try:
        row = await database.decide(QUERIES["admit"], parameters)
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unauthenticated("The proof is missing, forged or expired.") from error
    assert row is not None
    return float(row["wait_microseconds"]) / 1e6


async def note_key_uses(database: Database, uses: Mapping[str, datetime]) -> None:
    async with database.connection() as connection:
        await connection.execute(QUERIES["note_key_uses"], {"key_ids": list(uses), "times": list(uses.values())})
