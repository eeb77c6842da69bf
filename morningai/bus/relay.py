"""The relay of one service: publishes due outbox rows and marks them, with a login that may do nothing else.

A public event goes out twice: sealed for the services, and a copy for subscribers without what is internal; its row is
marked once both are acknowledged. One relay per service is active at a time (advisory lock). It is woken in-process
after a commit and by NOTIFY from other replicas, and sleeps until the next row is due. A row that
cannot be published holds up no other: it stays, and is tried again ever more rarely.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import LiteralString
from uuid import UUID

import psycopg
import structlog
from nats.js import JetStreamContext
from opentelemetry.instrumentation.utils import suppress_instrumentation
from psycopg.rows import DictRow, dict_row

from morningai.bus import subjects
from morningai.bus.catalogue import BY_NAME
from morningai.bus.envelope import Envelope, encode_headers, encode_public_headers
from morningai.bus.holds import LONGEST_OUTAGE_DELAY_SECONDS, Holds, Key
from morningai.bus.retry import retry_delay_seconds
from morningai.liveness import Liveness, Loop

log = structlog.get_logger()

BATCH = 256
# What the bus has not acknowledged by then flies on while the next rows are published.
PATIENCE_SECONDS = 0.5
PUBLISH_SECONDS = 5.0
UNKNOWN_SECONDS = 60.0
TYPES = list(BY_NAME)
LONGEST_SLEEP_SECONDS = 5.0
# Longer than an active relay ever says nothing; PostgreSQL ends the session of a frozen one, and another takes over.
FROZEN: LiteralString = "SET idle_session_timeout = '10s'"
# A plan is kept, and one made while the outbox was empty would read all of it when it is full: rows are found by key.
BY_KEY: LiteralString = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"
LOCK: LiteralString = "SELECT pg_try_advisory_lock(hashtext('relay'), hashtext(%s)) AS held"
DUE: LiteralString = """
SELECT * FROM outbox
WHERE published_at IS NULL AND due_at <= now() AND type = ANY(%(types)s)
  AND (tenant_id, id) NOT IN (SELECT * FROM unnest(%(tenant_ids)s::uuid[], %(ids)s::uuid[]))
ORDER BY due_at, id LIMIT %(limit)s
"""
NEXT: LiteralString = """
SELECT extract(epoch FROM min(due_at) - now())::float AS seconds FROM outbox
WHERE published_at IS NULL AND type = ANY(%(types)s)
  AND (tenant_id, id) NOT IN (SELECT * FROM unnest(%(tenant_ids)s::uuid[], %(ids)s::uuid[]))
"""
# What a later version wrote before a return to this one; it will publish it when it is back.
UNKNOWN: LiteralString = """
SELECT type, count(*) AS count FROM outbox
WHERE published_at IS NULL AND due_at <= now() AND type <> ALL(%(types)s) GROUP BY type
"""
# The due time is compared so that a timer postponed between reading and marking is not lost.
MARK: LiteralString = """
UPDATE outbox SET published_at = now()
FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS sent (tenant_id, id, due_at)
WHERE outbox.tenant_id = sent.tenant_id AND outbox.id = sent.id AND outbox.due_at = sent.due_at
"""


class Relay:
    """Runs until cancelled; every failure is logged and tried again."""

    def __init__(self, service: str, dsn: str, jetstream: JetStreamContext, *, loop: Loop | None = None) -> None:
        self._service = service
        self._dsn = dsn
        self._jetstream = jetstream
        self._wake = asyncio.Event()
        self._flights: dict[Key, tuple[DictRow, asyncio.Task[None]]] = {}
        self._holds = Holds()
        self._tell_unknown_at = 0.0
        self._loop = loop or Liveness(stuck_seconds=LONGEST_SLEEP_SECONDS).loop("relay")
        self.active = False

    def wake(self) -> bool:
        """False when another replica's relay is the active one and has to be notified."""
        self._wake.set()
        return self.active

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            for _, flight in self._flights.values():
                flight.cancel()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                with suppress_instrumentation():
                    await self._run_connected()
            except (psycopg.Error, OSError, TimeoutError) as error:
                self._loop.passed()  # what it meets is an outage, and it goes on
                failures += 1
                self.active = False
                log.warning("relay.pass.failed", error=f"{type(error).__name__}: {error}", failures=failures)
                await asyncio.sleep(min(retry_delay_seconds(min(failures, 4), first=0.25), 2.0))

    async def _run_connected(self) -> None:
        async with await psycopg.AsyncConnection.connect(
            self._dsn, autocommit=True, row_factory=dict_row
        ) as connection:
            connection.add_notify_handler(lambda _: self._wake.set())
            await connection.execute(FROZEN)
            await connection.execute(BY_KEY)
            try:
                await self._become_active(connection)
                while True:
                    self._wake.clear()
                    await self._tell_unknown(connection)
                    await self._publish_due(connection)
                    await self._sleep_until_due(connection)
            finally:
                self.active = False

    async def _become_active(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        while True:
            row = await (await connection.execute(LOCK, (self._service,))).fetchone()
            self._loop.passed()
            if row and row["held"]:
                await connection.execute(f"LISTEN outbox_{self._service}")
                self.active = True
                return
            await asyncio.sleep(1.0)

    async def _publish_due(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        while True:
            room = BATCH - len(self._flights)
            rows = await self._due(connection, room)
            self._loop.passed()
            await self._take_off(rows)
            sent = await self._land(connection)
            if len(rows) < room or not room:
                return
            if not sent:  # a whole batch failed: the bus is away
                await asyncio.sleep(LONGEST_OUTAGE_DELAY_SECONDS / 2)

    async def _due(self, connection: psycopg.AsyncConnection[DictRow], room: int) -> list[DictRow]:
        """Rows that never failed come first, or many that cannot be published would be all there is room for."""
        rows = await self._fetch(connection, room, without=self._holds.keys())
        waiting = self._holds.waiting()
        if len(waiting) < len(self._holds.keys()) and len(rows) < room:
            rows += await self._fetch(connection, room - len(rows), without=[*waiting, *map(_key, rows)])
            if len(rows) < room:
                self._holds.forget_all_but([*waiting, *self._flights, *map(_key, rows)])
        return rows

    async def _fetch(
        self, connection: psycopg.AsyncConnection[DictRow], limit: int, *, without: list[Key]
    ) -> list[DictRow]:
        return await (await connection.execute(DUE, self._parameters(without) | {"limit": limit})).fetchall()

    def _parameters(self, without: list[Key]) -> dict[str, object]:
        keys = [*self._flights, *without]
        return {"types": TYPES, "tenant_ids": [tenant for tenant, _ in keys], "ids": [name for _, name in keys]}

    async def _take_off(self, rows: list[DictRow]) -> None:
        flights = {_key(row): (row, asyncio.create_task(self._publish(row))) for row in rows}
        self._flights |= flights
        if flights:
            _, late = await asyncio.wait([flight for _, flight in flights.values()], timeout=PATIENCE_SECONDS)
            for flight in late:
                flight.add_done_callback(lambda _: self._wake.set())

    async def _land(self, connection: psycopg.AsyncConnection[DictRow]) -> int:
        """Mark what the bus acknowledged, hold what it did not, and return how many were sent."""
        landed = {key: flight for key, flight in self._flights.items() if flight[1].done()}
        failed = {key: error for key, (_, flight) in landed.items() if (error := flight.exception())}
        sent = [row for key, (row, _) in landed.items() if key not in failed]
        if sent:
            await connection.execute(
                MARK, ([r["tenant_id"] for r in sent], [r["id"] for r in sent], [r["due_at"] for r in sent])
            )
        for key in landed:
            del self._flights[key]
        for row in sent:
            self._holds.sent(_key(row))
        for key, error in failed.items():
            self._holds.failed(key, error)
        if failed:
            (_, message_id), error = next(iter(failed.items()))
            reason = f"{type(error).__name__}: {error}"
            log.warning("relay.messages.held", count=len(failed), message_id=str(message_id), error=reason)
        return len(sent)

    async def _tell_unknown(self, connection: psycopg.AsyncConnection[DictRow]) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._tell_unknown_at:
            return
        self._tell_unknown_at = now + UNKNOWN_SECONDS
        for row in await (await connection.execute(UNKNOWN, {"types": TYPES})).fetchall():
            log.error("relay.type.unknown", type=row["type"], count=row["count"])

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
        # The bus takes the same id within two minutes for the same sending; what is sent again is another one.
        headers["Nats-Msg-Id"] = f"{envelope.id}@{row['due_at'].timestamp()}"
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
        seconds = await self._seconds_to_due(connection) if len(self._flights) < BATCH else LONGEST_SLEEP_SECONDS
        self._loop.passed(next_waits_seconds=LONGEST_SLEEP_SECONDS)
        with self._notified_by(connection), suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, min(seconds, LONGEST_SLEEP_SECONDS))):
                await self._wake.wait()

    async def _seconds_to_due(self, connection: psycopg.AsyncConnection[DictRow]) -> float:
        released = self._holds.seconds_to_next(most=LONGEST_SLEEP_SECONDS)
        row = await (await connection.execute(NEXT, self._parameters(self._holds.waiting()))).fetchone()
        return released if row is None or row["seconds"] is None else min(row["seconds"], released)

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


def _key(row: DictRow) -> Key:
    return row["tenant_id"], row["id"]
