"""The one place that settles a message: acknowledged, returned with a delay, or kept as a dead letter.

Every outcome of a handler maps to one of the three by the branch of its error (morningai/errors.py).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
import structlog
from faststream.nats import NatsMessage
from psycopg_pool import PoolTimeout

from morningai import telemetry
from morningai.bus.envelope import Envelope, decode
from morningai.bus.handling import Short
from morningai.bus.in_progress import in_progress
from morningai.bus.outages import AWAY, outage_of
from morningai.bus.retry import LONGEST_OUTAGE_SECONDS, LONGEST_SECONDS, retry_delay_seconds
from morningai.bus.together import Lanes
from morningai.bus.work import Long, Slot, WorkLimits
from morningai.db.session import Database
from morningai.errors import MorningAIError, Permanent, Poison, Retryable, TaskEnded, Unauthenticated, plain
from morningai.logging import bind_contextvars, clear_contextvars

log = structlog.get_logger()

NO_TENANT = UUID(int=0)
BURY: LiteralString = """
INSERT INTO dead_letters
  (tenant_id, message_id, consumer, type, subject, headers, body, reason, error, deliveries, trace_id)
VALUES (%(tenant_id)s, %(message_id)s, %(consumer)s, %(type)s, %(subject)s, %(headers)s, %(body)s, %(reason)s,
        %(error)s, %(deliveries)s, %(trace_id)s)
"""
ONCE: LiteralString = "ON CONFLICT DO NOTHING"
# What was replayed and failed again waits for a decision again.
AGAIN: LiteralString = """
ON CONFLICT (tenant_id, message_id, consumer) DO UPDATE
SET state = 'buried', reason = excluded.reason, error = excluded.error, deliveries = excluded.deliveries,
    buried_at = now()
WHERE dead_letters.state = 'replayed'
"""


@dataclass(frozen=True)
class Settler:
    """Settles the messages of one slot of one durable consumer of one service."""

    database: Database
    handlers: dict[str, Short | Long]
    consumer: str
    limits: WorkLimits
    max_deliveries: int
    ack_wait_seconds: float
    slot: Slot
    lanes: Lanes

    async def settle(self, message: NatsMessage) -> None:
        """Handle a message and settle it; never raises for what a handler did. While the service stops, others may."""
        self.slot.loop.passed()
        if self.slot.draining.is_set():
            await message.nack()
            return
        clear_contextvars()
        try:
            envelope = decode(message.headers, message.body)
        except Poison as error:
            await self._bury_unverified(message, error)
            return
        bind_contextvars(tenant_id=str(envelope.tenant_id), task_id=str(envelope.task_id))
        attributes = {"messaging.system": "nats", "messaging.message.id": str(envelope.id)}
        with telemetry.consumer_span(f"process {envelope.type.short_name}", envelope.traceparent, attributes):
            async with in_progress(message, ack_wait_seconds=self.ack_wait_seconds):
                await self._settle(message, envelope)

    async def _settle(self, message: NatsMessage, envelope: Envelope) -> None:
        try:
            await self._handle(message, envelope)
            await message.ack()
        except TaskEnded:
            log.info("bus.message.late", type=envelope.type.short_name, message_id=str(envelope.id))
            await message.ack()
        except (Poison, Permanent) as error:
            await self._bury(message, envelope, error)
        except (Retryable, *AWAY, TimeoutError) as error:
            await self._return(message, envelope, error)
        except Exception as error:  # the bus boundary: unknown errors are returned, then kept
            if not outage_of(error):
                log.exception("bus.message.crashed", type=envelope.type.short_name, message_id=str(envelope.id))
            await self._return(message, envelope, error)

    async def _handle(self, message: NatsMessage, envelope: Envelope) -> None:
        handler = self.handlers.get(envelope.type.name)
        if handler is None:
            raise Poison(f"{self.consumer} has no handler for {envelope.type.short_name}.")
        if isinstance(handler, Short):
            await self.lanes.handle(handler, envelope)
        else:
            await handler(self.database, envelope, limits=self.limits, acknowledge=message.ack, slot=self.slot)

    async def _return(self, message: NatsMessage, envelope: Envelope, error: Exception) -> None:
        if _deliveries(message) >= self.max_deliveries and not (isinstance(error, AWAY) or outage_of(error)):
            await self._bury(message, envelope, error)
        else:
            await self._postpone(message, error)

    async def _postpone(self, message: NatsMessage, error: Exception) -> None:
        deliveries = _deliveries(message)
        asked = error.retry_after_seconds if isinstance(error, Retryable) else None
        longest = LONGEST_OUTAGE_SECONDS if outage_of(error) else LONGEST_SECONDS
        delay = asked or retry_delay_seconds(deliveries, first=self.limits.retry_delay_seconds, longest=longest)
        log.warning(
            "bus.message.returned",
            type=plain(message.headers.get("ce-type", "")),
            message_id=plain(message.headers.get("ce-id", "")),
            deliveries=deliveries,
            delay_seconds=round(delay, 2),
            error=plain(str(error)),
        )
        await message.nack(delay=delay)

    async def _bury(self, message: NatsMessage, envelope: Envelope, error: Exception) -> None:
        row = _dead_letter(message, error, consumer=self.consumer)
        row |= {"message_id": envelope.id, "type": envelope.type.name, "tenant_id": envelope.tenant_id}
        try:
            async with self.database.tenant_session(envelope.seal) as session:
                await session.execute(BURY + AGAIN, row | {"tenant_id": session.tenant_id})
        except TaskEnded:  # of a tenant, though it proves none any more: operators are not told what was wrong with it
            await self._quarantine(message, row | {"error": "Its task ended while it was handled."})
        except Unauthenticated:
            await self._quarantine(message, row)
        except (psycopg.Error, PoolTimeout) as refused:
            await self._postpone(message, refused)
        else:
            await message.ack()

    async def _bury_unverified(self, message: NatsMessage, error: Poison) -> None:
        row = _dead_letter(message, error, consumer=self.consumer)
        kind = plain(message.headers.get("ce-type", ""))
        await self._quarantine(message, row | {"message_id": uuid4(), "type": kind})

    async def _quarantine(self, message: NatsMessage, row: dict[str, object]) -> None:
        """A message that proves no tenant belongs to none: only an operator can see it."""
        try:
            async with self.database.connection() as connection:
                await connection.execute(BURY + ONCE, row | {"tenant_id": NO_TENANT})
        except (psycopg.Error, PoolTimeout) as refused:
            await self._postpone(message, refused)
        else:
            await message.ack()


def _dead_letter(message: NatsMessage, error: Exception, *, consumer: str) -> dict[str, object]:
    """A row that can be written whatever the message and the error say."""
    reason = plain(error.reason if isinstance(error, MorningAIError) else type(error).__name__)
    deliveries = _deliveries(message)
    text = plain(str(error))
    log.error("bus.message.buried", consumer=consumer, reason=reason, error=text, deliveries=deliveries)
    headers = {plain(name): plain(value) for name, value in message.headers.items() if name != "ce-seal"}
    return {
        "consumer": consumer,
        "subject": plain(message.raw_message.subject),
        "headers": json.dumps(headers),
        "body": message.body,
        "reason": reason,
        "error": text,
        "deliveries": deliveries,
        "trace_id": _trace_id(headers.get("traceparent", "")),
    }


def _trace_id(traceparent: str) -> str:
    version_trace_span = traceparent.split("-")
    return version_trace_span[1] if len(version_trace_span) == 4 else ""


def _deliveries(message: NatsMessage) -> int:
    return int(message.raw_message.metadata.num_delivered or 1)
