"""Incoming messages take effect once: the row of a message is inserted in the transaction of its effect."""

from __future__ import annotations

from collections.abc import Sequence

from morningai.bus.envelope import Envelope
from morningai.db.session import Receipt, Session, Transaction
from morningai.errors import Poison, Unauthenticated


async def receive(
    transaction: Transaction, envelopes: Sequence[Envelope], *, consumer: str
) -> tuple[Session, list[bool]]:
    """The session of the last message's seal, and of each message whether it came for the first time; for a duplicate,
    after waiting for the transaction that holds the first.

    Raises Poison for a seal that is not valid or is another message's.
    """
    receipts = [Receipt(envelope.id, envelope.type.name) for envelope in envelopes]
    seals = [envelope.seal for envelope in envelopes]
    try:
        sessions, are_new = await transaction.receive(seals, receipts, consumer=consumer)
    except Unauthenticated as error:
        raise Poison(f"The seal of {_named(envelopes)} is not valid, or of another message.") from error
    for session, envelope in zip(sessions, envelopes, strict=True):
        sealed = (session.tenant_id, session.task_id, session.message_id)
        if sealed != (envelope.tenant_id, envelope.task_id, envelope.id):
            raise Poison(f"The seal of {_named([envelope])} belongs to another message.")
    return sessions[-1], are_new


def _named(envelopes: Sequence[Envelope]) -> str:
    return " or ".join(f"{envelope.type.short_name} {envelope.id}" for envelope in envelopes)
