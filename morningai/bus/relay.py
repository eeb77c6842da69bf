"""The relay of one service: publishes due outbox rows and marks them, with a login that may do nothing else.

A public event goes out twice: sealed for the services, and a copy for subscribers without what is internal; its row is
marked once both are acknowledged. One relay per service is active at a time (advisory lock). It is woken in-process
after a commit and by NOTIFY from other replicas, and sleeps until the next row is due.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import nats.errors
import nats.js.errors
import psycopg
import structlog
from nats.js import JetStreamContext
from opentelemetry.instrumentation.utils import suppress_instrumentation
from psycopg.rows import DictRow, dict_row

from morningai.bus import subjects
from morningai.bus.catalogue import BY_NAME
from morningai.bus.envelope import Envelope, encode_headers, encode_public_headers
from morningai.bus.retry import retry_delay_seconds

log = structlog.get_logger()

BATCH = 256
LONGEST_SLEEP_SECONDS = 5.0
PUBLISH_SECONDS = 5.0
LOCK: LiteralString = "SELECT pg_try_advisory_lock(hashtext('relay'), hashtext(%s)) AS held"
DUE: LiteralString = """
SELECT *, now() AS now FROM outbox WHERE published_at IS NULL AND due_at <= now() ORDER BY due_at, id LIMIT %s
"""
NEXT: LiteralString = """
SELECT extract(epoch FROM min(due_at) - now())::float AS seconds FROM outbox WHERE published_at IS NULL
"""
# The due time is compared so that a timer postponed between reading and marking is not lost.
MARK: LiteralString = """
UPDATE outbox SET published_at = now()
FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS sent (tenant_id, id, due_at)
WHERE outbox.tenant_id = sent.tenant_id AND outbox.id = sent.id AND outbox.due_at = sent.due_at
"""


class Relay:
    """Runs until cancelled; every failure is logged and tried again."""

    def __init__(self, service: str, dsn: str, jetstream: JetStreamContext) -> None:
        self._service = service
        self._dsn = dsn
        self._jetstream = jetstream
        self._wake = asyncio.Event()
        self.active = False
        self.last_pass: datetime | None = None

    def wake(self) -> bool:
        """False when another replica's relay is the active one and has to be notified."""
        self._wake.set()
        return self.active

    async def run(self) -> None:
        failures = 0
        while True:
            try:
                with suppress_instrumentation():
                    await self._run_connected()
            except (psycopg.Error, nats.errors.Error, nats.js.errors.Error, OSError, TimeoutError) as error:
                failures += 1
                self.active = False
                log.warning("relay.pass.failed", error=f"{type(error).__name__}: {error}", failures=failures)
                await asyncio.sleep(min(retry_delay_seconds(min(failures, 4), first=0.25), 2.0))

    async def _run_connected(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, row_factory=dict_row
        ) as connection:
            connection.add_notify_handler(lambda _: self._wake.set())
            try:
                await self._become_active(connection)
                while True:
                    self._wake.clear()
                    await self._publish_due(connection)
                    await self._sleep_until_due(connection)
            finally:
                self.active = False

    async def _become_active(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        while True:
            row = await (await connection.execute(LOCK, (self._service,))).fetchone()
            if row and row["held"]:
                await connection.execute(f"LISTEN outbox_{self._service}")
                self.active = True
                return
            await asyncio.sleep(1.0)

    async def _publish_due(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        while True:
            rows = await (await connection.execute(DUE, (BATCH,))).fetchall()
            self.last_pass = rows[0]["now"] if rows else self.last_pass
            if not rows:
                return
            results = await asyncio.gather(*(self._publish(row) for row in rows), return_exceptions=True)
            sent = [row for row, result in zip(rows, results, strict=True) if result is None]
            await connection.execute(
                MARK, ([r["tenant_id"] for r in sent], [r["id"] for r in sent], [r["due_at"] for r in sent])
            )
            failed = next((result for result in results if isinstance(result, BaseException)), None)
            if failed:
                raise failed
            if len(rows) < BATCH:
                return

    async def _publish(self, row: DictRow) -> None:
        envelope = Envelope(
            id=UUID(str(row["id"])),
            type=BY_NAME[row["type"]],
            source=f"/services/{self._service}",
            tenant_id=row["tenant_id"],
            task_id=row["task_id"],
            seal=row["seal"],
            traceparent=row["traceparent"],
            body=row["body"],
            causation_id=row["causation_id"],
            work_id=row["work_id"],
        )
        headers = encode_headers(envelope, time=row["created_at"])
        await self._jetstream.publish(row["subject"], envelope.body, headers=headers, timeout=PUBLISH_SECONDS)
        if envelope.type.public:
            await self._publish_copy(envelope, time=row["created_at"])

    async def _publish_copy(self, envelope: Envelope, *, time: datetime) -> None:
        subject = subjects.public_subject(envelope.tenant_id, envelope.type.context, envelope.type.event)
        headers = encode_public_headers(envelope, time=time)
        await self._jetstream.publish(subject, envelope.body, headers=headers, timeout=PUBLISH_SECONDS)

    async def _sleep_until_due(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        if self._wake.is_set():
            return
        row = await (await connection.execute(NEXT)).fetchone()
        seconds = row["seconds"] if row and row["seconds"] is not None else LONGEST_SLEEP_SECONDS
        with self._notified_by(connection), suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, LONGEST_SLEEP_SECONDS))):
                await self._wake.wait()

    @contextmanager
    def _notified_by(self, connection: psycopg.AsyncConnection[DictRow]) -> Iterator[None]:
        """psycopg's own `notifies()` wakes ten times a second, and would need a connection of its own."""

        def read() -> None:
            try:
                connection.pgconn.consume_input()
                while connection.pgconn.notifies():
                    self._wake.set()
            except psycopg.Error:  # the connection broke: the next query says so
                self._wake.set()

        read()  # what came with the last query's answer makes the socket readable no more
        loop, socket = asyncio.get_running_loop(), connection.fileno()
        loop.add_reader(socket, read)
        try:
            yield
        finally:
            loop.remove_reader(socket)
