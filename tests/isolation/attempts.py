"""What a login could try in SQL to reach another tenant's rows, and what counts as a refusal.

An attempt that fails for any other reason than a refusal was no attempt, and is reported as such.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg

from tests.isolation.filler import REFERRING, Row, fresh_tenant, insert_statement, spare_row
from tests.isolation.tables import SCHEMAS, ForeignKey, Table
from tests.isolation.world import Access, Connection, World

NO_PRIVILEGE = "42501"  # policies and the product's own refusals of a proof included
FOREIGN_KEY_VIOLATION = "23503"
NOT_UNDER_POLICIES = "0A000"  # COPY FROM is refused wherever row level security holds
VIEWS = """
SELECT n.nspname || '.' || c.relname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname = ANY (%s) ORDER BY 1
"""


@dataclass(frozen=True)
class Aim:
    """Whose session it is and whose rows are tried. Without a valid proof no row is one's own."""

    mine: UUID
    victim: UUID
    proven: bool

    @property
    def foreign(self) -> str:
        return f"tenant_id IS DISTINCT FROM '{self.mine}'" if self.proven else "true"


@dataclass(frozen=True)
class Attempt:
    target: str
    operation: str
    # Whether another tenant's row was reached.
    run: Callable[[Connection], bool]
    # Whether the privileges of the login allow it, so that the owner of the row succeeds.
    permitted: bool
    refusals: tuple[str, ...] = (NO_PRIVILEGE,)
    # Whether it may make something of one's own, which does not stay.
    makes: bool = False


class NotTried(AssertionError):
    """An attempt failed for a reason of its own, so its refusal proves nothing."""


def reaches(connection: Connection, attempt: Attempt) -> bool:
    """Raises NotTried. What was not refused and reached nothing stays, for the comparison of the rows afterwards."""
    connection.execute("SAVEPOINT attempt")
    try:
        reached = attempt.run(connection)
    except psycopg.Error as error:
        connection.execute("ROLLBACK TO SAVEPOINT attempt")
        if error.sqlstate in attempt.refusals:
            return False
        raise NotTried(f"{attempt.operation} of {attempt.target}: {error}") from error
    undone = reached or attempt.makes
    connection.execute("ROLLBACK TO SAVEPOINT attempt" if undone else "RELEASE SAVEPOINT attempt")
    return reached


def attempts_on(world: World, table: Table, access: Access, aim: Aim) -> Iterator[Attempt]:
    yield from _readings(table, access, aim)
    yield from _changes(world, table, access, aim)
    yield from _additions(world, table, access, aim)
    yield from (_reference(world, table, access, aim, key) for key in table.foreign_keys if key.pairs)


def attempts_on_views(connection: Connection, aim: Aim) -> Iterator[Attempt]:
    for (view,) in connection.execute(VIEWS, (list(SCHEMAS),)).fetchall():
        query = f"SELECT v::text FROM {view} AS v WHERE position('{aim.victim}' IN v::text) > 0"
        yield Attempt(str(view), "view", _returns(query), permitted=False)


def _readings(table: Table, access: Access, aim: Aim) -> Iterator[Attempt]:
    seen = "tenant_id" in access.select
    changed = _changed(table, access)
    view = f"CREATE TEMP VIEW seen AS SELECT {_quoted(sorted(access.select)) or '*'} FROM {table}"
    read = f"SELECT tenant_id FROM pg_temp.seen WHERE {aim.foreign}"
    update = f'UPDATE pg_temp.seen SET "{changed}" = "{changed}" WHERE {aim.foreign}'
    yield Attempt(str(table), "select", _returns(f"SELECT tenant_id FROM {table} WHERE {aim.foreign}"), seen)
    yield Attempt(str(table), "copy to", _copies_out(table, aim), seen)
    yield Attempt(str(table), "temporary view", _first(view, _returns(read)), permitted=False, makes=True)
    yield Attempt(
        *(str(table), "update through a temporary view", _first(view, _touches(update))),
        permitted=False,
        makes=True,
    )


def _changes(world: World, table: Table, access: Access, aim: Aim) -> Iterator[Attempt]:
    changed = _changed(table, access)
    updates, names = _updates(table, access), access.select.issuperset(table.key)
    update = f'UPDATE {table} SET "{changed}" = "{changed}" WHERE {aim.foreign}'
    merge = f"""
      MERGE INTO {table} AS t USING (SELECT '{aim.victim}'::uuid AS victim) AS s ON t.tenant_id = s.victim
      WHEN MATCHED THEN UPDATE SET "{changed}" = t."{changed}"
    """
    gone = f"DELETE FROM {table} WHERE tenant_id = '{aim.victim}'{_and(table.inner_key)}"
    delete = _touches(gone, world.loose[aim.victim][str(table)])
    yield Attempt(str(table), "update", _touches(update), updates)
    yield Attempt(str(table), "merge into a row", _touches(merge), updates)
    yield Attempt(str(table), "move", _moves(table, aim), "tenant_id" in access.update)
    yield Attempt(str(table), "delete", delete, access.delete and names)


def _additions(world: World, table: Table, access: Access, aim: Aim) -> Iterator[Attempt]:
    tenant = aim.victim if table.inner_key else fresh_tenant()
    row = {"tenant_id": tenant, **spare_row(table, world.made)}
    kept = {"tenant_id": aim.victim, **world.loose[aim.victim][str(table)]}
    columns, changed = _named(row, access), _changed(table, access)
    gives, names = access.insert.issuperset(row), access.select.issuperset(table.key)
    places = ", ".join(f"%({column})s" for column in columns)
    insert = insert_statement(table, columns)
    upsert = f"""
      {insert_statement(table, _named(kept, access)).replace(f"INTO {table}", f"INTO {table} AS t")}
      ON CONFLICT ({_quoted(table.key)}) DO UPDATE SET "{changed}" = t."{changed}"
    """
    merge = f"""
      MERGE INTO {table} AS t USING (SELECT %(tenant_id)s::uuid AS victim) AS s
      ON t.tenant_id = s.victim{_and(table.inner_key, "t.")}
      WHEN NOT MATCHED THEN INSERT ({_quoted(columns)}) VALUES ({places})
    """
    for operation, add, added, permitted in (
        ("insert", _touches(insert, row), row, gives),
        ("upsert", _touches(upsert, kept), kept, gives and names and _updates(table, access)),
        ("merge of a new row", _touches(merge, row), row, gives and names),
    ):
        yield Attempt(str(table), operation, _foreign(add, table, access, aim, added), permitted, makes=True)
    copy = _foreign(_copies_in(table, columns, row), table, access, aim, row)
    refusals = (NO_PRIVILEGE, NOT_UNDER_POLICIES)
    yield Attempt(str(table), "copy from", copy, permitted=False, refusals=refusals, makes=True)


def _reference(world: World, table: Table, access: Access, aim: Aim, key: ForeignKey) -> Attempt:
    """A row of mine that points at a row that the victim alone has."""
    parent = world.loose[aim.victim][key.parent]
    pointing = {own: parent[theirs] for own, theirs in key.pairs}
    if table.inner_key and set(table.inner_key) < set(pointing):
        given = [column for column in pointing if column not in table.inner_key]
        changes = ", ".join(f'"{column}" = %({column})s' for column in given)
        run = _touches(f"UPDATE {table} SET {changes} WHERE tenant_id = '{aim.mine}'{_and(table.inner_key)}", pointing)
        permitted = access.update.issuperset(given)
    else:
        row = {"tenant_id": aim.mine, **spare_row(table, world.made)}
        required = {column.name for column in table.columns if column.not_null}
        row |= pointing if required.issuperset(pointing) else {**REFERRING.get(str(table), {}), **pointing}
        run, permitted = _touches(insert_statement(table, _named(row, access)), row), access.insert.issuperset(row)
    refusals = (NO_PRIVILEGE, FOREIGN_KEY_VIOLATION)
    return Attempt(str(table), f"foreign key {key.name}", run, permitted, refusals=refusals, makes=True)


def _changed(table: Table, access: Access) -> str:
    return min(access.update - {column.name for column in table.columns if column.generated}, default="tenant_id")


def _updates(table: Table, access: Access) -> bool:
    return {"tenant_id", _changed(table, access)} <= access.select and bool(access.update)


def _named(row: Row, access: Access) -> list[str]:
    return [column for column in row if not access.insert or column in access.insert]


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{column}"' for column in columns)


def _and(columns: Sequence[str], prefix: str = "") -> str:
    return "".join(f' AND {prefix}"{column}" = %({column})s' for column in columns)


def _returns(query: str) -> Callable[[Connection], bool]:
    return lambda connection: connection.execute(query).fetchone() is not None  # type: ignore[arg-type]


def _touches(statement: str, row: Row | None = None) -> Callable[[Connection], bool]:
    return lambda connection: connection.execute(statement, row).rowcount > 0  # type: ignore[arg-type]


def _moves(table: Table, aim: Aim) -> Callable[[Connection], bool]:
    """A constraint that stops it stops it behind the policies. Without a condition, which would have to see the rows
    where they are now."""

    def run(connection: Connection) -> bool:
        try:
            return connection.execute(f"UPDATE {table} SET tenant_id = '{aim.victim}'").rowcount > 0  # type: ignore[arg-type]
        except psycopg.IntegrityError:
            return True

    return run


def _first(statement: str, run: Callable[[Connection], bool]) -> Callable[[Connection], bool]:
    def both(connection: Connection) -> bool:
        connection.execute(statement)  # type: ignore[arg-type]
        return run(connection)

    return both


def _copies_out(table: Table, aim: Aim) -> Callable[[Connection], bool]:
    def run(connection: Connection) -> bool:
        with connection.cursor().copy(f"COPY {table} (tenant_id) TO STDOUT") as copy:  # type: ignore[arg-type]
            tenants = {UUID(str(tenant)) for (tenant,) in copy.rows()}
        return bool(tenants - {aim.mine} if aim.proven else tenants)

    return run


def _copies_in(table: Table, columns: list[str], row: Row) -> Callable[[Connection], bool]:
    def run(connection: Connection) -> bool:
        cursor = connection.cursor()
        with cursor.copy(f"COPY {table} ({_quoted(columns)}) FROM STDIN") as copy:  # type: ignore[arg-type]
            copy.write_row([row[column] for column in columns])
        return cursor.rowcount > 0

    return run


def _foreign(
    add: Callable[[Connection], bool], table: Table, access: Access, aim: Aim, row: Row
) -> Callable[[Connection], bool]:
    """Added, and not as a row of one's own: the outbox's trigger names the tenant of the session."""
    own = f"SELECT 1 FROM {table} WHERE tenant_id = '{aim.mine}'{_and(table.inner_key)}"

    def run(connection: Connection) -> bool:
        if not add(connection):
            return False
        asked = aim.proven and bool(table.inner_key) and access.select.issuperset(table.key)
        return not (asked and connection.execute(own, row).fetchone())  # type: ignore[arg-type]

    return run
