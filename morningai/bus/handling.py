"""What a service does with a message: short handlers in one transaction, long work in three."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeAlias

import psycopg
from google.protobuf.message import Message

from morningai.bus import inbox, outbox
from morningai.bus.envelope import Envelope
from morningai.db.session import Database, Session, Transaction

# A short handler has no network call inside: the transaction is open while it runs.
ShortHandler: TypeAlias = Callable[[Session, Envelope, Message], Awaitable[None]]
GroupHandler: TypeAlias = Callable[[Session, Sequence[tuple[Envelope, Message]]], Awaitable[None]]
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
        for _ in range(QUICK_TRIES - 1):
            with suppress(psycopg.errors.SerializationFailure):
                await self._run(database, envelope, consumer)
                return
        await self._run(database, envelope, consumer)

    async def _run(self, database: Database, envelope: Envelope, consumer: str) -> None:
        async with database.tenant_transaction() as transaction:
            await receive_sealed(self, [envelope], transaction, consumer=consumer)

    async def handle_new(self, session: Session, envelopes: Sequence[Envelope]) -> None:
        for envelope in envelopes:
            await self.handle(session, envelope, envelope.message())


@dataclass(frozen=True)
class Group(Short):
    """Handles the messages of a task that wait at one time with as many statements as one of them would take.

    Each has its own receipt, under its own seal; what the handler writes stands under the last one's. None of them is
    a command, whose replies would be sent again under another's seal.
    """

    handle: GroupHandler  # type: ignore[assignment]  # of all at once

    async def handle_new(self, session: Session, envelopes: Sequence[Envelope]) -> None:
        if envelopes:
            await self.handle(session, [(envelope, envelope.message()) for envelope in envelopes])


async def receive_sealed(
    handler: Short, envelopes: Sequence[Envelope], transaction: Transaction, *, consumer: str
) -> None:
    """Those that came before have their replies sent again."""
    session, are_new = await inbox.receive(transaction, envelopes, consumer=consumer)
    received = list(zip(envelopes, are_new, strict=True))
    for envelope in [envelope for envelope, is_new in received if not is_new]:
        await outbox.reply_again(session, envelope.id)
    await handler.handle_new(session, [envelope for envelope, is_new in received if is_new])
