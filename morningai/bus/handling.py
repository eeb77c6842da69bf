"""What a service does with a message: short handlers in one transaction, long work in three."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import psycopg
from google.protobuf.message import Message

from morningai.bus import inbox, outbox
from morningai.bus.envelope import Envelope
from morningai.db.session import Database, OpenSession, Session
from morningai.errors import Poison, Unauthenticated

# A short handler has no network call inside: the transaction is open while it runs.
ShortHandler: TypeAlias = Callable[[Session, Envelope, Message], Awaitable[None]]
Acknowledge: TypeAlias = Callable[[], Awaitable[None]]

# After that the bus brings the message again, later.
QUICK_TRIES = 5


@dataclass(frozen=True)
class Short:
    """Handles a message inside one transaction, which commits before the acknowledgement.

    A transaction that lost a race for something is run again at once, and finds it taken.
    """

    handle: ShortHandler

    async def __call__(self, database: Database, envelope: Envelope, *, consumer: str) -> None:
        try:
            for _ in range(QUICK_TRIES - 1):
                with suppress(psycopg.errors.SerializationFailure):
                    return await self._run(database, envelope, consumer)
            await self._run(database, envelope, consumer)
        except Unauthenticated as error:
            raise Poison(f"The seal of {envelope.type.short_name} {envelope.id} is not valid.") from error

    async def _run(self, database: Database, envelope: Envelope, consumer: str) -> None:
        async with database.tenant_sessions() as open_session:
            await receive_sealed(self, envelope, open_session, consumer=consumer)


async def receive_sealed(handler: Short, envelope: Envelope, open_session: OpenSession, *, consumer: str) -> None:
    """Under the message's own seal, whatever else is in the transaction."""
    session = await open_session(envelope.seal)
    check_seal(session, envelope)
    if await inbox.receive(session, envelope, consumer=consumer):
        await handler.handle(session, envelope, envelope.message())
    else:
        await outbox.reply_again(session, envelope.id)


def check_seal(session: Session, envelope: Envelope) -> None:
    """The proof must be a seal, of this very message, for the tenant and task that the headers name."""
    sealed = (session.tenant_id, session.task_id, session.message_id)
    if sealed != (envelope.tenant_id, envelope.task_id, envelope.id):
        raise Poison(f"The seal of {envelope.type.short_name} {envelope.id} belongs to another message.")
