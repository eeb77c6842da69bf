"""Reservations of model calls."""

from __future__ import annotations

from morningai.db.queries import load_queries
from morningai.db.session import Database

QUERIES = load_queries(__file__)


async def sweep_reservations(database: Database, *, most: int) -> int:
    """How many expired reservations were closed, of any tenant."""
    row = await database.decide(QUERIES["sweep_reservations"], {"most": most})
    assert row is not None
    return int(row["closed"])
