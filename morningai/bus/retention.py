"""Deletes what is over, in small batches, so that the tables stay bounded; one replica of a service sweeps at a time.

What is over is PostgreSQL's decision: the relay's login may call functions that delete old rows of ended tasks, and
may delete nothing itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import LiteralString

import psycopg
import structlog
from opentelemetry.instrumentation.utils import suppress_instrumentation
from psycopg import sql

from morningai.settings import ServiceSettings

log = structlog.get_logger()

LOCK: LiteralString = "SELECT pg_try_advisory_lock(hashtext('sweeper'), hashtext(%s))"
# A fifth of the time at most is for sweeping: the rest is for who works meanwhile.
REST_PER_BATCH = 4.0
JITTER = 0.2


@dataclass(frozen=True)
class Rule:
    """A function in SQL that deletes the rows that were over for so long, and returns how many it deleted."""

    function: str
    kept: timedelta


def ended_tasks(settings: ServiceSettings) -> timedelta:
    return timedelta(days=settings.task_days)


def ended_work(settings: ServiceSettings) -> timedelta:
    return timedelta(hours=settings.ended_work_hours)


def message_rules(settings: ServiceSettings) -> list[Rule]:
    """For the tables that every service has; a receipt goes after its message."""
    return [
        Rule("kernel.sweep_outbox", timedelta(days=settings.outbox_days)),
        Rule("kernel.sweep_inbox", timedelta(days=settings.inbox_days)),
        Rule("kernel.sweep_leases", ended_work(settings)),
        Rule("kernel.sweep_dead_letters", ended_tasks(settings)),
    ]


class Sweeper:
    """Runs until cancelled; every failure is logged, and the next sweep goes on where it was."""

    def __init__(self, service: str, settings: ServiceSettings, rules: Sequence[Rule] = ()) -> None:
        self._service = service
        self._dsn = settings.relay_dsn
        self._every_seconds = settings.retention_sweep_seconds
        self._batch_rows = settings.retention_batch_rows
        self._rules = [*rules, *message_rules(settings)]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._every_seconds * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - jitter
            try:
                with suppress_instrumentation():
                    await self.sweep()
            except (psycopg.Error, OSError) as error:
                log.warning("sweep.failed", error=f"{type(error).__name__}: {error}")

    async def sweep(self) -> dict[str, int]:
        """How many rows (tasks, for their checkpoints) each rule deleted; empty while another replica sweeps."""
        async with await psycopg.AsyncConnection.connect(self._dsn, autocommit=True) as connection:
            held = await (await connection.execute(LOCK, (self._service,))).fetchone()
            if not held or not held[0]:
                return {}
            deleted = {rule.function: await self._apply(connection, rule) for rule in self._rules}
        if any(deleted.values()):
            log.info("sweep.ended", **{function.replace(".", "_"): count for function, count in deleted.items()})
        return deleted

    async def _apply(self, connection: psycopg.AsyncConnection, rule: Rule) -> int:
        statement = sql.SQL("SELECT {}(%s, %s)").format(sql.Identifier(*rule.function.split(".")))
        loop, total = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            row = await (await connection.execute(statement, (rule.kept, self._batch_rows))).fetchone()
            assert row is not None
            deleted = int(row[0])
            total += deleted
            if deleted < self._batch_rows:
                return total
            await asyncio.sleep(REST_PER_BATCH * (loop.time() - began))
