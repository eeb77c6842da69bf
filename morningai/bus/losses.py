"""What a bus that lost its streams had of ours: whatever its receivers have not seen is published again.

The outboxes keep every message and the inboxes every receipt, so the bus holds nothing that cannot be had again. What
was received is not sent again, and what arrives twice ends at the inbox.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import LiteralString

import psycopg
import structlog

from morningai.bus import subjects
from morningai.bus.catalogue import CATALOGUE, MessageType
from morningai.bus.permissions import BUS_OWNER
from morningai.db.session import Database

log = structlog.get_logger()

RESEND: LiteralString = """
SELECT kernel.resend_lost(%(made_at)s, %(producers)s, %(types)s, %(subjects)s, %(receivers)s) AS count
"""


async def resend_lost(database: Database, *, made_at: datetime) -> int | None:
    """How many messages are sent again; None when this was done since the newest stream was made."""
    row = await database.decide(RESEND, {"made_at": made_at, **routes()})
    count = row["count"] if row else None
    if count:
        log.warning("bus.messages.lost", sent_again=count)
    return count


def rebuild(admin_dsn: str) -> int:
    """The same for whoever runs the database, whatever was done before."""
    with psycopg.connect(admin_dsn, autocommit=True) as connection:
        connection.execute(f"SET SESSION AUTHORIZATION {BUS_OWNER}_app")
        row = connection.execute(RESEND, {"made_at": datetime.now(UTC), **routes()}).fetchone()
    return int(row[0] or 0) if row else 0


def routes() -> dict[str, object]:
    """Who receives which messages of whom; an event's subject names its tenant, so its type has to do."""
    found = [
        (producer, message.name, _subject(message, receiver), receiver)
        for message in CATALOGUE
        for producer in message.producers
        for receiver in message.consumers
    ]
    producers, types, of_commands, receivers = (list(column) for column in zip(*found, strict=True))
    return {"producers": producers, "types": types, "subjects": of_commands, "receivers": receivers}


def _subject(message: MessageType, receiver: str) -> str:
    return "" if message.kind == "event" else subjects.command_subject(receiver, message.consumers[receiver])
