"""Which errors say that a part of ours is away: they say nothing about the work or the message that met them."""

from __future__ import annotations

import psycopg
from psycopg_pool import PoolTimeout

from morningai.errors import Outage

# The database does not answer, or another transaction was in the way.
AWAY = (psycopg.OperationalError, PoolTimeout)
# PostgreSQL's codes for that the connection failed, that it has no room for more, that it stops, starts, or ended the
# session of a process that was frozen.
LOST = ("08", "53", "57P", "25P03")


def outage_of(error: BaseException) -> Outage | None:
    """None when the error is of the work itself, a deadlock for example."""
    if isinstance(error, Outage):
        return error
    return Outage("The database does not answer.") if isinstance(error, PoolTimeout) or _is_lost(error) else None


def _is_lost(error: BaseException) -> bool:
    if not isinstance(error, psycopg.Error):
        return False
    return error.sqlstate.startswith(LOST) if error.sqlstate else isinstance(error, psycopg.OperationalError)
