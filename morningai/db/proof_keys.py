"""The keys that sign proofs: made, replaced and retired by whoever runs the database, while everything goes on.

A replaced key still verifies what it signed. A retired one verifies nothing, and what it sealed is sealed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from morningai.db.migrate import SERVICES
from morningai.db.queries import load_queries
from morningai.errors import FailedPrecondition, NotFound

QUERIES = load_queries(__file__)
# A grant lives for five minutes: until then the replaced key may be met at the services' doors.
RETIRE_AFTER = timedelta(minutes=5)
# Set aside with the message by whoever withdraws it, never published.
TIMER = "morningai.api.events.v1.StepTimedOut"


@dataclass(frozen=True)
class ProofKey:
    key_id: str
    created_at: datetime
    replaced_at: datetime | None
    retired_at: datetime | None
    minting: bool

    @property
    def state(self) -> str:
        if self.minting:
            return "minting"
        return "retired" if self.retired_at else "verifying"


def list_proof_keys(admin_dsn: str) -> list[ProofKey]:
    with psycopg.connect(admin_dsn) as connection:
        return _keys(connection)


def rotate_proof_key(admin_dsn: str) -> ProofKey:
    """A new key signs from now on; the others go on verifying."""
    with psycopg.connect(admin_dsn) as connection:
        connection.execute(QUERIES["lock_keys"])
        connection.execute(QUERIES["stop_minting"])
        key = connection.cursor(row_factory=class_row(ProofKey)).execute(QUERIES["insert_key"]).fetchone()
        connection.execute(QUERIES["analyze_keys"])
    assert key is not None
    return key


def retire_proof_key(admin_dsn: str, key_id: str) -> int:
    """Proofs of this key are refused from now on; returns how many messages were sealed again.

    Raises NotFound, or FailedPrecondition for a key that signs or was replaced less than five minutes ago.
    """
    with psycopg.connect(admin_dsn) as connection:
        connection.execute(QUERIES["lock_keys"])
        _check_can_be_retired(connection, key_id)
        # The outboxes' triggers seal for a tenant's session, and this is none.
        connection.execute("SET LOCAL session_replication_role = replica")
        sealed_again = sum(_reseal(connection, service, key_id) for service in SERVICES)
        connection.execute(QUERIES["retire_key"], {"key_id": key_id})
    return sealed_again


def _check_can_be_retired(connection: psycopg.Connection, key_id: str) -> None:
    key = next((key for key in _keys(connection) if key.key_id == key_id), None)
    if key is None:
        raise NotFound("proof key", key_id, remedy="`morningai proof-key list` shows the keys.")
    if key.replaced_at is None:
        raise FailedPrecondition(f"{key_id} signs proofs.", remedy="Replace it first: `morningai proof-key rotate`.")
    row = connection.execute("SELECT now()").fetchone()
    assert row is not None
    if row[0] - key.replaced_at < RETIRE_AFTER:
        raise FailedPrecondition(
            f"{key_id} was replaced less than five minutes ago, so grants of it are still in use.",
            remedy="Try again in five minutes.",
        )


def _reseal(connection: psycopg.Connection, service: str, key_id: str) -> int:
    statement = sql.SQL(QUERIES["reseal"]).format(
        outbox=sql.Identifier(service, "outbox"), again=sql.SQL("o.type <> {}").format(sql.Literal(TIMER))
    )
    return connection.execute(statement, {"key_id": key_id}).rowcount


def _keys(connection: psycopg.Connection) -> list[ProofKey]:
    return connection.cursor(row_factory=class_row(ProofKey)).execute(QUERIES["list_keys"]).fetchall()
