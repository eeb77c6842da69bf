"""What tenancy does by itself: close the reservations of callers that died."""

from __future__ import annotations

import asyncio

import psycopg
import structlog
from opentelemetry.instrumentation.utils import suppress_instrumentation
from psycopg_pool import PoolTimeout

from morningai.db.session import Database
from services.tenancy.repository import budgets

log = structlog.get_logger()

MOST_AT_A_TIME = 100


async def sweep_reservations(database: Database, *, every_seconds: float) -> None:
    """A bounded piece at a time; until the next one when nothing more has expired."""
    while True:
        try:
            with suppress_instrumentation():
                closed = await budgets.sweep_reservations(database, most=MOST_AT_A_TIME)
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("tenancy.sweep.failed", cause=type(error).__name__)
            closed = 0
        if closed:
            log.info("tenancy.reservations.swept", count=closed)
        if closed < MOST_AT_A_TIME:
            await asyncio.sleep(every_seconds)
