"""The tables that hold tenants' rows, read from the catalogue: a table that is added is tested without a word here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from morningai.db.migrate import SERVICES

if TYPE_CHECKING:
    from tests.conftest import TestDatabase

SCHEMAS = ("kernel", *SERVICES)
APP_LOGINS = tuple(f"{service}_app" for service in SERVICES)
RELAY_LOGINS = tuple(f"{service}_relay" for service in SERVICES)

TABLES = """
SELECT n.nspname, c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname = ANY (%s) AND c.relname <> 'schema_migrations'
  AND coalesce(obj_description(c.oid, 'pg_class'), '') NOT LIKE 'global: %%'
ORDER BY 1, 2
"""
COLUMNS = """
SELECT a.attname, format_type(a.atttypid, NULL), a.attnotnull, a.atthasdef OR a.attidentity <> '', a.attgenerated <> '',
  EXISTS (SELECT FROM pg_index AS i WHERE i.indrelid = a.attrelid AND i.indisunique AND a.attnum = ANY (i.indkey)),
  coalesce((SELECT string_agg(pg_get_constraintdef(k.oid), ' ') FROM pg_constraint AS k
            WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum]), ''),
  coalesce((SELECT e.enumlabel FROM pg_enum AS e WHERE e.enumtypid = a.atttypid ORDER BY e.enumsortorder LIMIT 1), '')
FROM pg_attribute AS a WHERE a.attrelid = %s::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
KEY = """
SELECT a.attname::text
FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
WHERE i.indisprimary AND i.indrelid = %s::text::regclass ORDER BY a.attnum
"""
FOREIGN_KEYS = """
SELECT k.conname, n.nspname || '.' || p.relname,
  ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS c (number, place)
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = c.number ORDER BY c.place),
  ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS c (number, place)
        JOIN pg_attribute AS a ON a.attrelid = k.confrelid AND a.attnum = c.number ORDER BY c.place)
FROM pg_constraint AS k JOIN pg_class AS p ON p.oid = k.confrelid JOIN pg_namespace AS n ON n.oid = p.relnamespace
WHERE k.contype = 'f' AND k.conrelid = %s::text::regclass ORDER BY k.conname
"""


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    not_null: bool
    has_default: bool
    generated: bool
    in_key: bool
    check: str
    first_label: str


@dataclass(frozen=True)
class ForeignKey:
    name: str
    parent: str
    columns: tuple[str, ...]
    parent_columns: tuple[str, ...]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Its columns with those of the parent, but for the tenant."""
        both = zip(self.columns, self.parent_columns, strict=True)
        return [(own, theirs) for own, theirs in both if own != "tenant_id"]


@dataclass(frozen=True)
class Table:
    schema: str
    name: str
    columns: tuple[Column, ...] = field(repr=False)
    foreign_keys: tuple[ForeignKey, ...] = field(repr=False)
    key: tuple[str, ...] = field(repr=False)

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def inner_key(self) -> tuple[str, ...]:
        """The primary key within a tenant; empty for a table with one row of each."""
        return tuple(column for column in self.key if column != "tenant_id")

    @property
    def parents(self) -> set[str]:
        """The tables that must have a row first; a nullable reference stays empty."""
        required = {column.name for column in self.columns if column.not_null}
        return {key.parent for key in self.foreign_keys if required.issuperset(key.columns)} - {str(self)}


def tenant_tables(database: TestDatabase) -> tuple[Table, ...]:
    """Parents before their children."""
    rows = database.rows(TABLES, list(SCHEMAS))
    found = [_table(database, str(schema), str(name)) for schema, name in rows]
    ordered: list[Table] = []
    while found:
        done = {str(table) for table in ordered}
        ready = [table for table in found if table.parents <= done]
        assert ready, f"tables that need each other's rows first: {[str(table) for table in found]}"
        ordered += ready
        found = [table for table in found if table not in ready]
    return tuple(ordered)


def _table(database: TestDatabase, schema: str, name: str) -> Table:
    full_name = f"{schema}.{name}"
    columns = tuple(Column(*row) for row in database.rows(COLUMNS, full_name))  # type: ignore[arg-type]
    keys = [ForeignKey(n, p, tuple(c), tuple(r)) for n, p, c, r in database.rows(FOREIGN_KEYS, full_name)]  # type: ignore[arg-type]
    primary = tuple(str(column) for (column,) in database.rows(KEY, full_name))
    return Table(schema, name, columns, tuple(keys), primary)
