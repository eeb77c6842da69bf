"""Outgoing messages are rows of the transaction that causes them; the relay publishes them when they are due."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import LiteralString
from uuid import UUID

from google.protobuf.message import Message
from uuid_utils.compat import uuid7

from morningai import telemetry
from morningai.bus import subjects
from morningai.bus.catalogue import message_type
from morningai.db.session import Session
from morningai.errors import Permanent

# NATS takes 1 MiB with the headers; larger things are rows, and messages name them.
LARGEST_BODY_BYTES = 900_000
# When a held message is due; whoever lets it go says when instead.
HELD = datetime.max.replace(tzinfo=UTC)
INSERT: LiteralString = """
INSERT INTO outbox (id, task_id, type, subject, body, traceparent, causation_id, work_id, due_at)
SELECT id, task_id, type, subject, body, traceparent, causation_id, work_id,
       coalesce(due_at, now() + make_interval(secs => delay))
FROM unnest(%(id)s::uuid[], %(task_id)s::uuid[], %(type)s::text[], %(subject)s::text[], %(body)s::bytea[],
            %(traceparent)s::text[], %(causation_id)s::uuid[], %(work_id)s::uuid[], %(due_at)s::timestamptz[],
            %(delay)s::float[])
  AS row (id, task_id, type, subject, body, traceparent, causation_id, work_id, due_at, delay)
"""
SEND_AGAIN: LiteralString = "UPDATE outbox SET published_at = NULL, due_at = now() WHERE id = %(id)s"
REPLY_AGAIN: LiteralString = """
UPDATE outbox SET published_at = NULL, due_at = now()
WHERE causation_id = %(id)s AND published_at IS NOT NULL AND work_id IS NULL
"""
WITHDRAW: LiteralString = "UPDATE outbox SET published_at = now() WHERE id = %(id)s AND published_at IS NULL"
HASTEN: LiteralString = "UPDATE outbox SET due_at = now() WHERE id = %(id)s AND published_at IS NULL AND due_at > now()"


@dataclass(frozen=True)
class Command:
    """A command as its row holds it, before it is a message of any task."""

    type: str
    subject: str
    body: bytes
    traceparent: str


@dataclass(frozen=True)
class Row:
    """`due_at`, or so many seconds after its transaction began."""

    id: UUID
    task_id: UUID
    type: str
    subject: str
    body: bytes
    traceparent: str
    causation_id: UUID | None
    work_id: UUID | None
    due_at: datetime | None
    delay: float


COLUMNS = tuple(column.name for column in fields(Row))


@dataclass
class Unwritten:
    """What a session emitted since it last wrote: one statement writes it all."""

    session: Session
    rows: list[Row] = field(default_factory=list)

    async def __call__(self) -> None:
        await self.session.execute(INSERT, {name: [getattr(row, name) for row in self.rows] for name in COLUMNS})


def new_id() -> UUID:
    """In one process each is greater than those before: of messages that are due at one time, the first goes first."""
    return uuid7()


def command(message: Message, *, to: str) -> Command:
    """For a function in SQL that writes the rows; everything else calls `emit`."""
    entry = message_type(type(message))
    subject = subjects.command_subject(to, entry.consumers[to])
    return Command(entry.name, subject, message.SerializeToString(deterministic=True), telemetry.current_traceparent())


async def emit(
    session: Session,
    message: Message,
    *,
    task_id: UUID,
    to: str = "",
    message_id: UUID | None = None,
    causation_id: UUID | None = None,
    work_id: UUID | None = None,
    delay_seconds: float = 0,
    due_at: datetime | None = None,
) -> UUID:
    """A message for the outbox, and its id; `to` names the service of a command. Its row is written before the
    session's transaction commits.

    Raises Permanent for a body that the bus would refuse: it would hold up every message behind it.
    """
    body = message.SerializeToString(deterministic=True)
    if len(body) > LARGEST_BODY_BYTES:
        raise Permanent(f"{type(message).__name__} has {len(body)} bytes; a message holds {LARGEST_BODY_BYTES}.")
    entry = message_type(type(message))
    if entry.kind == "event":
        subject = subjects.event_subject(session.tenant_id, entry.context, entry.event)
    else:
        subject = subjects.command_subject(to, entry.consumers[to])
    row = Row(
        id=message_id or new_id(),
        task_id=task_id,
        type=entry.name,
        subject=subject,
        body=body,
        traceparent=telemetry.current_traceparent(),
        causation_id=causation_id,
        work_id=work_id,
        due_at=due_at,
        delay=float(delay_seconds),
    )
    _unwritten(session).rows.append(row)
    session.wakes_relay = True
    return row.id


def _unwritten(session: Session) -> Unwritten:
    for write in session.before_commit:
        if isinstance(write, Unwritten):
            return write
    unwritten = Unwritten(session)
    session.before_commit.append(unwritten)
    return unwritten


async def send_again(session: Session, message_id: UUID) -> None:
    """Publish a message once more under the same id: its receiver ends it at the inbox, or answers again."""
    await session.write_rest()
    await session.execute(SEND_AGAIN, {"id": message_id})
    session.wakes_relay = True


async def reply_again(session: Session, command_id: UUID) -> None:
    """Publish the stored replies of a finished command once more."""
    await session.write_rest()
    await session.execute(REPLY_AGAIN, {"id": command_id})
    session.wakes_relay = True


async def withdraw(session: Session, message_id: UUID) -> None:
    """A timer that is no longer needed never fires."""
    await session.write_rest()
    await session.execute(WITHDRAW, {"id": message_id})


async def hasten(session: Session, message_id: UUID) -> None:
    """A timer fires now, under the seal it was written with: whoever does this need not be who set it."""
    await session.write_rest()
    await session.execute(HASTEN, {"id": message_id})
    session.wakes_relay = True
