"""A database whose every tenant table holds rows of two tenants, and sessions in it as a service's own login."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import psycopg

from tests.isolation.filler import Row, fill
from tests.isolation.tables import Table, tenant_tables

if TYPE_CHECKING:
    from tests.conftest import TestDatabase, TestTenant

Connection: TypeAlias = "psycopg.Connection[tuple[object, ...]]"

PRIVILEGES = """
SELECT n.nspname || '.' || c.relname, p, a.attname::text
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped,
  unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS p
WHERE n.nspname || '.' || c.relname = ANY (%(tables)s) AND has_schema_privilege(%(login)s, n.oid, 'USAGE')
  AND has_column_privilege(%(login)s, c.oid, a.attnum, p)
"""


@dataclass(frozen=True)
class Access:
    """The columns that the privileges of a login let it read, give and change; the policies come on top."""

    select: frozenset[str]
    insert: frozenset[str]
    update: frozenset[str]


@dataclass(frozen=True)
class World:
    database: TestDatabase
    a: TestTenant
    b: TestTenant
    tables: tuple[Table, ...]
    made: dict[str, list[Row]]
    privileges: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)

    def on(self, database: TestDatabase) -> World:
        """The same rows in a clone of this database."""
        a, b = replace(self.a, database=database), replace(self.b, database=database)
        return replace(self, database=database, a=a, b=b, privileges={})

    def table(self, name: str) -> Table:
        return next(table for table in self.tables if str(table) == name)

    def counts(self, tenant: TestTenant) -> dict[str, int]:
        """The tenant's rows by table, as the superuser sees them."""
        with psycopg.connect(self.database.admin_dsn) as connection:
            found = {
                str(table): connection.execute(
                    f"SELECT count(*) FROM {table} WHERE tenant_id = %s", (tenant.tenant_id,)
                ).fetchone()
                for table in self.tables
            }
        return {name: int(str(row[0])) for name, row in found.items() if row}

    def access(self, login: str, table: Table) -> Access:
        if login not in self.privileges:
            self.privileges[login] = self._privileges(login)
        granted = self.privileges[login]
        columns = (
            frozenset(column for name, kind, column in granted if (name, kind) == (str(table), wanted))
            for wanted in ("SELECT", "INSERT", "UPDATE")
        )
        return Access(*columns)

    def _privileges(self, login: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database.admin_dsn) as connection:
            parameters = {"login": login, "tables": [str(table) for table in self.tables]}
            return connection.execute(PRIVILEGES, parameters).fetchall()

    @contextmanager
    def session(self, login: str, proof: str | None) -> Iterator[Connection]:
        """A connection as `login` with a session of the proof; rolled back. One that opens none is set by hand."""
        with psycopg.connect(self.database.dsn(login)) as connection:
            assert_ordinary(connection, login)
            if proof is not None:
                open_or_set(connection, proof)
            yield connection
            connection.rollback()


def open_or_set(connection: Connection, proof: str) -> None:
    try:
        with connection.transaction():
            connection.execute("SELECT kernel.open_session(%s)", (proof,))
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState):
        connection.execute("SELECT set_config('morningai.proof', %s, true)", (proof,))


def assert_ordinary(connection: Connection, login: str) -> None:
    """A superuser sees every row, so a test that runs as one proves nothing."""
    row = connection.execute(
        "SELECT current_user, session_user, rolsuper FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    assert row == (login, login, False)


def make_world(database: TestDatabase) -> World:
    tables = tenant_tables(database)
    a, b = database.create_tenant("tenant-a"), database.create_tenant("tenant-b")
    made = fill(database, tables, a, count=2)
    fill(database, tables, b, count=3)
    return World(database, a, b, tables, made)
