"""LangGraph's checkpoint saver on our tables, on the connection of the message's transaction.

A transition, its inbox row and its outgoing commands commit or roll back together. Pinned by a test to
langgraph-checkpoint-postgres 3.2: its upserts name a primary key without the tenant, so they are overridden.
"""

from __future__ import annotations

from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from morningai.db.session import Session


class TenantCheckpointSaver(AsyncPostgresSaver):
    """One per run: a shared saver serialises all runs on its lock."""

    UPSERT_CHECKPOINT_BLOBS_SQL = AsyncPostgresSaver.UPSERT_CHECKPOINT_BLOBS_SQL.replace(
        "ON CONFLICT (", "ON CONFLICT (tenant_id, "
    )
    UPSERT_CHECKPOINTS_SQL = AsyncPostgresSaver.UPSERT_CHECKPOINTS_SQL.replace(
        "ON CONFLICT (", "ON CONFLICT (tenant_id, "
    )
    UPSERT_CHECKPOINT_WRITES_SQL = AsyncPostgresSaver.UPSERT_CHECKPOINT_WRITES_SQL.replace(
        "ON CONFLICT (", "ON CONFLICT (tenant_id, "
    )
    INSERT_CHECKPOINT_WRITES_SQL = AsyncPostgresSaver.INSERT_CHECKPOINT_WRITES_SQL.replace(
        "ON CONFLICT (", "ON CONFLICT (tenant_id, "
    )


def make_saver(session: Session) -> TenantCheckpointSaver:
    return TenantCheckpointSaver(session.connection, serde=JsonPlusSerializer(allowed_msgpack_modules=None))
