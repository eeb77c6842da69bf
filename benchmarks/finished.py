"""Fills a platform's tables with finished tasks: the rows of one that ran, again under ids and times of their own.

The copies lie in the past, one after the other, and belong to the tenants by turns. What is inside messages stays as
it was; nothing reads it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import class_row

BATCH = 5_000
# Events of copies have places of their own in the feed: above those of the task that was copied, below all that come.
COPIED_FROM = 1 << 30
OTHERS_FROM = 1 << 40
MOVE_FEED = "UPDATE gateway.feed_life SET first_position = greatest(first_position, %s)"
COLUMNS = """
SELECT n.nspname AS schema, c.relname AS relation, array_agg(a.attname::text ORDER BY a.attnum) AS columns,
  array_agg(format_type(a.atttypid, NULL) ORDER BY a.attnum) AS types
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity = ''
  AND n.nspname IN ('kernel', 'gateway', 'orchestrator', 'docs', 'faqgen', 'codegen', 'tenancy')
GROUP BY c.oid, n.nspname, c.relname
HAVING 'tenant_id' = ANY (array_agg(a.attname::text))
"""
# A copy keeps the order of its ids: those of version 7 begin with their time.
MOVED = """
CREATE OR REPLACE FUNCTION pg_temp.moved(id uuid, number integer, back interval) RETURNS uuid
LANGUAGE sql IMMUTABLE AS $$
  SELECT (
    CASE WHEN substr(id::text, 15, 1) = '7'
      THEN lpad(to_hex(('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint
                       - (1000 * extract(epoch FROM back))::bigint), 12, '0')
      ELSE left(replace(id::text, '-', ''), 12) END
    || substr(replace(id::text, '-', ''), 13, 12)
    || lpad(to_hex(('x' || right(id::text, 8))::bit(32)::bigint # number), 8, '0'))::uuid
$$
"""
MESSAGES = """
SELECT array_agg(id) FROM (
  SELECT id, task_id FROM gateway.outbox UNION ALL SELECT id, task_id FROM orchestrator.outbox
  UNION ALL SELECT id, task_id FROM docs.outbox UNION ALL SELECT id, task_id FROM faqgen.outbox
  UNION ALL SELECT id, task_id FROM codegen.outbox
) AS message WHERE task_id = %s
"""


@dataclass(frozen=True)
class Past:
    """When the copies ran: the youngest so long ago, and each so much before the one after it."""

    since: timedelta
    apart: timedelta


@dataclass(frozen=True)
class Table:
    schema: str
    relation: str
    columns: Sequence[str]
    types: Sequence[str]

    @property
    def name(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.relation)

    @property
    def of_task(self) -> sql.SQL | None:
        """Which rows belong to a task; None where none does."""
        known = dict(zip(self.columns, self.types, strict=True))
        if known.get("task_id") == "uuid":
            return sql.SQL("task_id = %(task)s")
        if "thread_id" in known:
            return sql.SQL("thread_id = %(task)s::text")
        if self.relation == "inbox":
            return sql.SQL("message_id = ANY (%(messages)s)")
        return None

    def copied(self, column: str, kind: str) -> sql.Composable:
        given = sql.Identifier(column)
        if column == "tenant_id":
            return sql.SQL("(%(tenants)s::uuid[])[1 + number %% cardinality(%(tenants)s::uuid[])]")
        if column == "thread_id":
            return sql.SQL("pg_temp.moved({}::uuid, number, %(since)s + number * %(apart)s)::text").format(given)
        if column == "feed_position":
            return sql.SQL("{} + number").format(sql.Literal(COPIED_FROM))
        if kind == "uuid":
            return sql.SQL("pg_temp.moved({}, number, %(since)s + number * %(apart)s)").format(given)
        if kind == "timestamp with time zone":
            return sql.SQL("{} - (%(since)s + number * %(apart)s)").format(given)
        return given


class FinishedTasks:
    """Copies of one finished task, as the database's administrator, whom no trigger and no policy holds."""

    def __init__(self, admin: psycopg.Connection, task_id: UUID) -> None:
        self._admin = admin
        self._task_id = task_id
        self.count = 0
        admin.execute("SET session_replication_role = replica")
        admin.execute(MOVED)
        admin.execute(MOVE_FEED, (OTHERS_FROM,))
        tables = admin.cursor(row_factory=class_row(Table)).execute(COLUMNS).fetchall()
        self._tables = [table for table in tables if table.of_task]
        found = admin.execute(MESSAGES, (task_id,)).fetchone()
        self._messages = found[0] if found else []

    def grow_to(self, count: int, tenants: Sequence[UUID], past: Past) -> None:
        while self.count < count:
            last = min(count, self.count + BATCH)
            for table in self._tables:
                self._copy(table, self.count + 1, last, tenants, past)
            self.count = last
        self._admin.execute("VACUUM ANALYZE")

    def _copy(self, table: Table, first: int, last: int, tenants: Sequence[UUID], past: Past) -> None:
        columns = zip(table.columns, table.types, strict=True)
        statement = sql.SQL(
            "INSERT INTO {table} ({columns}) SELECT {copies} "
            "FROM {table}, generate_series(%(first)s::integer, %(last)s) AS number WHERE {of_task}"
        ).format(
            table=table.name,
            columns=sql.SQL(", ").join(map(sql.Identifier, table.columns)),
            copies=sql.SQL(", ").join(table.copied(name, kind) for name, kind in columns),
            of_task=table.of_task,
        )
        given = {"task": self._task_id, "messages": self._messages, "tenants": list(tenants)}
        self._admin.execute(statement, given | vars(past) | {"first": first, "last": last})
