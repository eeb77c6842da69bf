"""A task's rows in the orchestrator as plain data: kept in `fixtures/` by one revision, gone on with by later ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from tests.conftest import TestDatabase, TestTenant

FIXTURES = Path(__file__).parent / "fixtures"
TABLES = ("tasks", "steps", "approvals", "checkpoints", "checkpoint_blobs", "checkpoint_writes")
OF_THREAD = {name: "thread_id" for name in TABLES if name.startswith("checkpoint")}
# What is still to be answered, and what asks for it again.
OPEN_MESSAGES = """
SELECT to_jsonb(o) - 'tenant_id' - 'seal' || '{"published_at": null}' FROM orchestrator.outbox AS o
WHERE o.task_id = %s AND (
  o.id IN (SELECT unnest(ARRAY[s.command_id, s.timer_id]) FROM orchestrator.steps AS s WHERE s.state = 'running')
  OR o.id IN (SELECT a.timer_id FROM orchestrator.approvals AS a WHERE a.settled_at IS NULL))
ORDER BY o.id
"""
Rows = dict[str, list[dict[str, object]]]


def write_task(database: TestDatabase, task_id: UUID, name: str) -> None:
    """The task as it is at this moment, as a file."""
    stored: Rows = {table: _rows_of(database, table, task_id) for table in TABLES}
    stored["outbox"] = [row[0] for row in database.rows(OPEN_MESSAGES, task_id)]  # type: ignore[misc]
    (FIXTURES / f"{name}.json").write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def _rows_of(database: TestDatabase, table: str, task_id: UUID) -> list[dict[str, object]]:
    key = OF_THREAD.get(table, "task_id")
    query = f"SELECT to_jsonb(t) - 'tenant_id' FROM orchestrator.{table} AS t WHERE {key}::text = %s ORDER BY t"
    return [row[0] for row in database.rows(query, str(task_id))]  # type: ignore[misc]


def restore_task(database: TestDatabase, tenant: TestTenant, name: str) -> UUID:
    """The stored task as the tenant's own, its deadlines to come; returns its id."""
    stored: Rows = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    task_id = tenant.open_task(UUID(str(stored["tasks"][0]["task_id"])))
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (tenant.grant(),))
        for table, rows in stored.items():
            for row in rows:
                _insert(connection, table, row)
        connection.execute("UPDATE orchestrator.steps SET deadline = now() + interval '1 hour' WHERE ended_at IS NULL")
        connection.execute("UPDATE orchestrator.approvals SET expires_at = now() + interval '1 hour'")
        connection.execute(
            "UPDATE orchestrator.outbox SET due_at = now() + interval '1 hour' WHERE type LIKE '%ApprovalDue'"
        )
    return task_id


def _insert(connection: psycopg.Connection[tuple[object, ...]], table: str, row: dict[str, object]) -> None:
    """Columns that are newer than the file get their defaults."""
    columns = sql.SQL(", ").join(map(sql.Identifier, row))
    connection.execute(
        sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM jsonb_populate_record(NULL::{0}, %s)").format(
            sql.Identifier("orchestrator", table), columns
        ),
        (Jsonb(row),),
    )
