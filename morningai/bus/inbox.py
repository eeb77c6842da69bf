"""Incoming messages take effect once: the row of a message is inserted in the transaction of its effect."""

from __future__ import annotations

from typing import LiteralString

from morningai.bus.envelope import Envelope
from morningai.db.session import Session

INSERT: LiteralString = """
INSERT INTO inbox (message_id, consumer, type) VALUES (%(message_id)s, %(consumer)s, %(type)s)
ON CONFLICT DO NOTHING
"""


async def receive(session: Session, envelope: Envelope, *, consumer: str) -> bool:
    """True the first time; False for a duplicate, after waiting for the transaction that holds the first."""
    parameters = {"message_id": envelope.id, "consumer": consumer, "type": envelope.type.name}
    return await session.execute(INSERT, parameters) == 1
