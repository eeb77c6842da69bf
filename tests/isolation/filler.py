"""Makes valid rows of any table from its columns' types and simple CHECKs; what it cannot guess stands in OVERRIDES.

Two tenants get the same keys, so that only tenant_id tells their rows apart; and each one row in every table whose key
the other has not, and that no row points at: the loose one.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING
from uuid import NAMESPACE_OID, UUID, uuid5

import psycopg

from morningai.db.migrate import SERVICES
from tests.isolation.tables import Column, Table

if TYPE_CHECKING:
    from tests.conftest import TestDatabase, TestTenant

Row = dict[str, object]

# By table: columns whose CHECK concerns more than themselves.
OVERRIDES: dict[str, Row] = {
    "gateway.data_keys": {"is_current": False},
    "docs.data_keys": {"is_current": False},
    "tenancy.data_keys": {"is_current": False},
    "docs.sources": {"kind": "remote", "remote_uri": "https://example.org/repository"},
    "docs.snapshots": {"state": "ready", "ready_at": "2026-01-01T00:00:00Z"},
    "docs.documents": {"newest_version": 1000},
    "docs.document_versions": {"content": "text", "content_hash": hashlib.sha256(b"text").hexdigest()},
    "docs.patches": {"patch": "text", "patch_hash": hashlib.sha256(b"text").hexdigest()},
    "gateway.schedules": {"branch": "", "poll_seconds": 60},
    # A task has one that is not settled.
    "orchestrator.approvals": {"settled_at": "2026-01-01T00:00:00Z"},
    "tenancy.audit_log": {"action": "keys.create"},
    # What its receiver never saw.
    "gateway.outbox": {"due_at": "2026-01-01T00:00:00Z", "published_at": "2026-01-01T00:00:00Z"},
}
OVERRIDES |= {f"{service}.dead_letters": {"consumer": "docs-work"} for service in SERVICES}
# By table: columns that a row has when it points at something that it need not point at.
REFERRING: dict[str, Row] = {"docs.sources": {"kind": "upload", "remote_uri": None}}
VALUES: dict[str, object] = {
    "boolean": False,
    "jsonb": "{}",
    "json": "{}",
    "bytea": b"x",
    "timestamp with time zone": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "interval": "1 second",
    "tsvector": "",
}
# The number of the row that is tried and never kept.
SPARE = 99
NUMBERS = ("smallint", "integer", "bigint", "real", "double precision", "numeric")


class CannotFill(AssertionError):
    """The filler has to learn about a table."""


def fill(
    database: TestDatabase, tables: tuple[Table, ...], tenant: TestTenant, *, count: int, loose_number: int
) -> tuple[dict[str, list[Row]], dict[str, Row]]:
    """`count` rows of the tenant in each table that has none of it yet, and the loose row of each; as the superuser in
    the tenant's session."""
    made: dict[str, list[Row]] = {}
    loose: dict[str, Row] = {}
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (tenant.grant(),))
        for number in (*range(count), loose_number, SPARE):
            _open_task(connection, tenant, task_id=numbered("task_id", number))
            _open_schedule(connection, tenant, schedule_id=numbered("schedule_id", number))
        for table in tables:
            has_rows = connection.execute(
                f"SELECT 1 FROM {table} WHERE tenant_id = %s LIMIT 1", (tenant.tenant_id,)
            ).fetchone()
            numbers = range(1 if _has_its_parents_key(table) else count)
            made[str(table)] = [] if has_rows else [make_row(table, number, made, number) for number in numbers]
            loose[str(table)] = make_row(table, loose_number, made, 0)
            for row in (*made[str(table)], loose[str(table)]):
                _insert(connection, table, {"tenant_id": tenant.tenant_id, **row})
    return made, loose


def spare_row(table: Table, made: dict[str, list[Row]]) -> Row:
    """One more valid row, whose parents are the first rows that take one; without its tenant."""
    return make_row(table, SPARE, made, 1 if _has_its_parents_key(table) else 0)


def _has_its_parents_key(table: Table) -> bool:
    """A parent has one such row at most: the first has it, and the second is left for the spare one."""
    required = [set(key.columns) for key in table.foreign_keys if key.parent in table.parents]
    return bool(table.inner_key) and any(set(table.inner_key) <= columns for columns in required)


def make_row(table: Table, number: int, made: dict[str, list[Row]], parent_number: int) -> Row:
    row = {column.name: _value(column, number) for column in table.columns if _is_needed(column)}
    for key in table.foreign_keys:
        if key.parent in table.parents and made.get(key.parent):
            parent = made[key.parent][parent_number]
            row |= {
                own: parent[theirs] for own, theirs in zip(key.columns, key.parent_columns, strict=True) if own in row
            }
    return row | OVERRIDES.get(str(table), {})


def _is_needed(column: Column) -> bool:
    filled_by_itself = column.generated or column.name == "tenant_id"
    return not filled_by_itself and (column.in_key or (column.not_null and not column.has_default))


def _value(column: Column, number: int) -> object:
    if column.first_label:
        return column.first_label
    if column.type == "uuid":
        return numbered(column.name, number)
    if column.type in NUMBERS:
        return number + 1
    if column.type.endswith("[]"):
        return []
    if column.type in ("jsonb", "json") and "'array'" in column.check:
        return "[]"
    return VALUES.get(column.type, _text(column, number))


def numbered(name: str, number: int) -> UUID:
    return uuid5(NAMESPACE_OID, f"{name} {number}")


def _open_task(connection: psycopg.Connection[tuple[object, ...]], tenant: TestTenant, *, task_id: UUID) -> None:
    """What the gateway's first message of a task does: messages belong to tasks that were accepted."""
    statement = "INSERT INTO kernel.tasks (tenant_id, task_id, principal) VALUES (%s, %s, 'key:mk_test')"
    connection.execute(statement, (tenant.tenant_id, task_id))


def _open_schedule(
    connection: psycopg.Connection[tuple[object, ...]], tenant: TestTenant, *, schedule_id: UUID
) -> None:
    """Whose timer's seals are good."""
    statement = (
        "INSERT INTO kernel.tasks (tenant_id, task_id, schedule_id, principal) VALUES (%s, %s, %s, 'key:mk_test')"
    )
    connection.execute(statement, (tenant.tenant_id, schedule_id, schedule_id))


def _text(column: Column, number: int) -> str:
    digits = re.search(r"\[0-9a-f\]\{(\d+)\}", column.check)
    if digits:
        return hashlib.sha256(f"{column.name} {number}".encode()).hexdigest()[: int(digits[1])]
    choice = re.search(r"ARRAY\['([^']*)'", column.check)
    return choice[1] if choice else f"{column.name.replace('_', '-')}-{number}"


def _insert(connection: psycopg.Connection[tuple[object, ...]], table: Table, row: Row) -> None:
    try:
        connection.execute(f"{insert_statement(table, list(row))} ON CONFLICT DO NOTHING", row)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise CannotFill(
            f"tests/isolation/filler.py cannot make a row of {table}: {error} Add the column to OVERRIDES."
        ) from error


def insert_statement(table: Table, columns: list[str]) -> str:
    names = ", ".join(f'"{column}"' for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join(f'%({column})s' for column in columns)})"


def fresh_tenant() -> UUID:
    return uuid5(NAMESPACE_OID, "a tenant that does not exist")
