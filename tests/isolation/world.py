"""A database whose every tenant table holds rows of two tenants, and sessions in it as a service's own login."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

import psycopg

from tests.isolation.filler import SPARE, Row, fill, numbered
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
UNION ALL
SELECT n.nspname || '.' || c.relname, 'DELETE', '' FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname || '.' || c.relname = ANY (%(tables)s) AND has_schema_privilege(%(login)s, n.oid, 'USAGE')
  AND has_table_privilege(%(login)s, c.oid, 'DELETE')
"""
SEAL = """
SELECT kernel.mint_seal('s', ('g', %s, 'key:mk_test', ARRAY['tasks.read'], NULL, NULL)::kernel.proof, %s, %s)
"""
EXPIRED = "SELECT kernel.mint_grant(%s, 'key:mk_test', ARRAY['tasks.read', 'tasks.write'], '-1 second'::interval)"


@dataclass(frozen=True)
class Access:
    """The columns that the privileges of a login let it read, give and change; the policies come on top."""

    select: frozenset[str]
    insert: frozenset[str]
    update: frozenset[str]
    delete: bool


@dataclass(frozen=True)
class World:
    database: TestDatabase
    a: TestTenant
    b: TestTenant
    tables: tuple[Table, ...]
    made: dict[str, list[Row]]
    loose: dict[UUID, dict[str, Row]]
    privileges: dict[str, dict[str, Access]] = field(default_factory=dict)

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
            with psycopg.connect(self.database.admin_dsn) as connection:
                self.privileges[login] = accesses(connection, login, self.tables)
        return self.privileges[login][str(table)]

    def seal(self, tenant: TestTenant) -> str:
        """Of the message and the task that the spare rows name, so that inbox and outbox take them."""
        task, message = numbered("task_id", SPARE), numbered("message_id", SPARE)
        return str(self.database.rows(SEAL, tenant.tenant_id, task, message)[0][0])

    def expired(self, tenant: TestTenant) -> str:
        return str(self.database.rows(EXPIRED, tenant.tenant_id)[0][0])

    def rows(self) -> dict[str, object]:
        """Every row of every tenant as text, by table."""
        query = " UNION ALL ".join(
            f"SELECT '{table}', string_agg(t::text, chr(10) ORDER BY t::text) FROM {table} AS t"
            for table in self.tables
        )
        return {str(name): rows for name, rows in self.database.rows(query)}

    @contextmanager
    def session(self, login: str, proof: str | None) -> Iterator[Connection]:
        """A connection as `login` with a session of the proof; rolled back. One that opens none is set by hand."""
        with psycopg.connect(self.database.dsn(login)) as connection:
            assert_ordinary(connection, login)
            if proof is not None:
                open_or_set(connection, proof)
            yield connection
            connection.rollback()

    @contextmanager
    def acting(self, login: str, proof: str | None, mutations: Iterable[str] = ()) -> Iterator[Connection]:
        """The same in a transaction of the superuser's, who may look at what was done by `RESET SESSION AUTHORIZATION`;
        the mutations before it are rolled back too, roles included."""
        with psycopg.connect(self.database.admin_dsn, prepare_threshold=None) as connection:
            for mutation in mutations:
                connection.execute(mutation)  # type: ignore[arg-type]
            connection.execute(f"SET SESSION AUTHORIZATION {login}")  # type: ignore[arg-type]
            assert_ordinary(connection, login)
            if proof is not None:
                open_or_set(connection, proof)
            yield connection
            connection.rollback()


def accesses(connection: Connection, login: str, tables: tuple[Table, ...]) -> dict[str, Access]:
    parameters = {"login": login, "tables": [str(table) for table in tables]}
    granted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for table, kind, column in connection.execute(PRIVILEGES, parameters).fetchall():
        granted[str(table), str(kind)].add(str(column))
    return {
        name: Access(
            *(frozenset(granted[name, kind]) for kind in ("SELECT", "INSERT", "UPDATE")),
            delete=(name, "DELETE") in granted,
        )
        for name in map(str, tables)
    }


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
    made, loose_of_a = fill(database, tables, a, count=2, loose_number=50)
    _, loose_of_b = fill(database, tables, b, count=3, loose_number=51)
    return World(database, a, b, tables, made, {a.tenant_id: loose_of_a, b.tenant_id: loose_of_b})
