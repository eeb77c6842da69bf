"""What a service does with a message: short handlers in one transaction, long work in three."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.message import Message

from morningai.bus import inbox, outbox
from morningai.bus.envelope import Envelope
from morningai.db.session import Database, Session
from morningai.errors import Poison, Unauthenticated

# A short handler has no network call inside: the transaction is open while it runs.
ShortHandler: TypeAlias = Callable[[Session, Envelope, Message], Awaitable[None]]
Acknowledge: TypeAlias = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Short:
    """Handles a message inside one transaction, which commits before the acknowledgement."""

    handle: ShortHandler

    async def __call__(self, database: Database, envelope: Envelope, *, consumer: str) -> None:
        message = envelope.message()
        try:
            async with database.tenant_session(envelope.seal) as session:
                check_seal(session, envelope)
                if await inbox.receive(session, envelope, consumer=consumer):
                    await self.handle(session, envelope, message)
                else:
                    await outbox.reply_again(session, envelope.id)
        except Unauthenticated as error:
            raise Poison(f"The seal of {envelope.type.short_name} {envelope.id} is not valid.") from error


def check_seal(session: Session, envelope: Envelope) -> None:
    """The proof must be a seal, of this very message, for the tenant and task that the headers name."""
    sealed = (session.tenant_id, session.task_id, session.message_id)
    if sealed != (envelope.tenant_id, envelope.task_id, envelope.id):
        raise Poison(f"The seal of {envelope.type.short_name} {envelope.id} belongs to another message.")
