"""The cross-tenant assertions; test_mutations.py takes protections away and expects these very assertions to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias
from uuid import UUID

import psycopg

from tests.isolation import ways
from tests.isolation.filler import Row, insert_statement, spare_row
from tests.isolation.tables import Table
from tests.isolation.ways import Write
from tests.isolation.world import Access, Connection, World

# What it is called, and whether it leaked when it was tried.
Action: TypeAlias = tuple[str, Callable[[Connection], bool]]


@dataclass(frozen=True)
class Leak:
    """What a login did to rows that are not its tenant's."""

    table: str
    action: str
    login: str


class Leaked(AssertionError):
    def __init__(self, leaks: list[Leak]) -> None:
        super().__init__("\n".join(map(str, leaks)))
        self.leaks = leaks


def assert_no_row_of_another_tenant(world: World, login: str, tables: tuple[Table, ...] | None = None) -> int:
    """With A's proof, every way to B's rows. Returns how many were tried. Raises Leaked."""
    return _assert_none(world, login, world.a.grant(), tables, _foreign_actions)


def assert_no_row_at_all(world: World, login: str, proof: str | None, tables: tuple[Table, ...] | None = None) -> int:
    """With a proof that is not valid, every way to any row. Returns how many were tried. Raises Leaked."""
    return _assert_none(world, login, proof, tables, _actions)


def _assert_none(
    world: World,
    login: str,
    proof: str | None,
    tables: tuple[Table, ...] | None,
    actions: Callable[[World, Table, Access], Iterator[Action]],
) -> int:
    tried, leaks = 0, []
    with world.session(login, proof) as connection:
        for table in tables or world.tables:
            for name, leaked in actions(world, table, world.access(login, table)):
                tried += 1
                if leaked(connection):
                    leaks.append(Leak(str(table), name, login))
    if leaks:
        raise Leaked(leaks)
    return tried


def own_rows(world: World, login: str) -> dict[str, int]:
    """How many rows a login sees with A's proof, by table it may read."""
    with world.session(login, world.a.grant()) as connection:
        return {
            str(table): len(_try(connection, f"SELECT tenant_id FROM {table}") or [])
            for table in world.tables
            if world.access(login, table).select
        }


def own_inserts(world: World, login: str) -> dict[str, bool]:
    """Whether a row of A is accepted with A's proof, by table the login may insert into."""
    with world.session(login, world.a.grant()) as connection:
        return {
            str(table): _accepts(connection, world, table, access, tenant_id=world.a.tenant_id)
            for table in world.tables
            if (access := world.access(login, table)).insert
        }


def _foreign_actions(world: World, table: Table, access: Access) -> Iterator[Action]:
    a, b = world.a.tenant_id, world.b.tenant_id
    foreign_row = {"tenant_id": b, **spare_row(table, world.made)}
    other = f"WHERE tenant_id IS DISTINCT FROM '{a}'"
    yield "select", lambda connection: bool(_try(connection, f"SELECT tenant_id FROM {table} {other}"))
    yield "update", lambda connection: _touched(connection, _update(table, access, other)) > 0
    yield "delete", lambda connection: _touched(connection, f"DELETE FROM {table} {other}") > 0
    yield "insert", lambda connection: _inserted_elsewhere(connection, world, table, access, tenant_id=b)
    yield "move", lambda connection: _touched(connection, f"UPDATE {table} SET tenant_id = '{b}'") > 0
    yield "copy out", lambda connection: _copied_out(connection, table) - {str(a)} != set()
    yield (
        "copy in",
        lambda connection: _is_elsewhere(connection, world, table, ways.copy_in(table, access, foreign_row)),
    )
    yield "upsert", lambda connection: _is_elsewhere(connection, world, table, ways.upsert(table, access, foreign_row))
    yield "merge", lambda connection: _touched(connection, ways.merge(table, access, f"t.tenant_id = '{b}'")) > 0
    yield (
        "merge in",
        lambda connection: _is_elsewhere(connection, world, table, ways.merge_in(table, access, foreign_row)),
    )
    yield "view", lambda connection: bool(_viewed(connection, table, other))
    for key in table.foreign_keys:
        if str(table) != key.parent and (row := ways.row_of_foreign_parent(world, table, key)):
            yield f"foreign key to {key.parent}", partial(_points_across, table=table, access=access, row=row)


def _actions(world: World, table: Table, access: Access) -> Iterator[Action]:
    a = world.a.tenant_id
    row = {"tenant_id": a, **spare_row(table, world.made)}
    yield "select", lambda connection: bool(_try(connection, f"SELECT tenant_id FROM {table}"))
    yield "update", lambda connection: _touched(connection, _update(table, access, "")) > 0
    yield "delete", lambda connection: _touched(connection, f"DELETE FROM {table}") > 0
    yield "insert", lambda connection: _accepts(connection, world, table, access, tenant_id=a)
    yield "copy out", lambda connection: bool(_copied_out(connection, table))
    yield "copy in", lambda connection: _accepted(connection, table, ways.copy_in(table, access, row))
    yield "upsert", lambda connection: _accepted(connection, table, ways.upsert(table, access, row))
    yield "merge", lambda connection: _touched(connection, ways.merge(table, access, "true")) > 0
    yield "merge in", lambda connection: _accepted(connection, table, ways.merge_in(table, access, row))
    yield "view", lambda connection: bool(_viewed(connection, table, ""))


def _is_view(connection: Connection, table: Table) -> bool:
    kind = connection.execute("SELECT relkind FROM pg_class WHERE oid = %s::text::regclass", (str(table),)).fetchone()
    return kind == ("v",)


def _copied_out(connection: Connection, table: Table) -> set[str]:
    """The tenants whose rows were copied."""
    try:
        with (
            connection.transaction(force_rollback=True),
            connection.cursor() as cursor,
            cursor.copy(f"COPY (SELECT tenant_id FROM {table}) TO STDOUT") as copy,  # type: ignore[arg-type]
        ):
            return {str(row[0]) for row in copy.rows()}
    except psycopg.errors.InsufficientPrivilege:
        return set()


def _viewed(connection: Connection, table: Table, where: str) -> list[tuple[object, ...]]:
    """Through a view of the login's own, where it can make one."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(f"CREATE TEMPORARY VIEW made AS SELECT tenant_id FROM {table}")  # type: ignore[arg-type]
            return connection.execute(f"SELECT tenant_id FROM made {where}").fetchall()  # type: ignore[arg-type]
    except psycopg.errors.InsufficientPrivilege:
        return []


def _points_across(connection: Connection, *, table: Table, access: Access, row: Row) -> bool:
    """Whether a row of A was accepted that only a row of B's could be the parent of."""
    named = [name for name in row if not access.insert or name in access.insert]
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(insert_statement(table, named), row)  # type: ignore[arg-type]
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ForeignKeyViolation):
        return False
    return True


def _is_elsewhere(connection: Connection, world: World, table: Table, write: Write) -> bool:
    """Accepted, and not because a trigger turned it into a row of the session's own tenant (the outbox does)."""
    own = f"SELECT count(*) FROM {table} WHERE tenant_id = '{world.a.tenant_id}'"
    tenants: list[object] = []
    with connection.transaction(force_rollback=True):
        before = _try(connection, own)
        accepted = _accepted(connection, table, write, keep=True, tenants=tenants)
        return accepted and (tenants != [world.a.tenant_id] if tenants else _try(connection, own) == before)


def _accepted(
    connection: Connection, table: Table, write: Write, *, keep: bool = False, tenants: list[object] | None = None
) -> bool:
    """As `_accepts`. PostgreSQL copies nothing into a table whose policies hold the login, and a view in the place of a
    table takes neither a copy nor the name of a constraint.

    What the statement returns is added to `tenants`.
    """
    try:
        with connection.transaction(force_rollback=not keep):
            written = write(connection)
            if isinstance(written, psycopg.Cursor) and written.description and tenants is not None:
                tenants += [row[0] for row in written.fetchall()]
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
        return False
    except (psycopg.errors.WrongObjectType, psycopg.errors.UndefinedObject):
        assert _is_view(connection, table)
        return False
    except psycopg.IntegrityError:
        return True
    return True


def _update(table: Table, access: Access, where: str) -> str:
    column = min(access.update - {column.name for column in table.columns if column.generated}, default="tenant_id")
    return f'UPDATE {table} SET "{column}" = "{column}" {where}'


def _inserted_elsewhere(connection: Connection, world: World, table: Table, access: Access, *, tenant_id: UUID) -> bool:
    """Accepted, and not because a trigger turned it into a row of the session's own tenant (the outbox does)."""
    own = f"SELECT count(*) FROM {table} WHERE tenant_id = '{world.a.tenant_id}'"
    with connection.transaction(force_rollback=True):
        before = _try(connection, own)
        accepted = _accepts(connection, world, table, access, tenant_id=tenant_id, keep=True)
        return accepted and _try(connection, own) == before


def _accepts(
    connection: Connection, world: World, table: Table, access: Access, *, tenant_id: UUID, keep: bool = False
) -> bool:
    """Policies are checked before constraints: whatever is not refused for lack of privilege got past them."""
    row = {"tenant_id": tenant_id, **spare_row(table, world.made)}
    named = [name for name in row if not access.insert or name in access.insert]
    try:
        with connection.transaction(force_rollback=not keep):
            connection.execute(insert_statement(table, named), row)  # type: ignore[arg-type]
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.IntegrityError:
        return True
    return True


def _try(connection: Connection, query: str) -> list[tuple[object, ...]] | None:
    """None when the login may not."""
    try:
        with connection.transaction(force_rollback=True):
            return connection.execute(query).fetchall()  # type: ignore[arg-type]
    except psycopg.errors.InsufficientPrivilege:
        return None


def _touched(connection: Connection, statement: str) -> int:
    """Rows that a statement reached; a constraint that stops it stops it after the policies."""
    try:
        with connection.transaction(force_rollback=True):
            return connection.execute(statement).rowcount  # type: ignore[arg-type]
    except psycopg.errors.InsufficientPrivilege:
        return 0
    except psycopg.IntegrityError:
        return 1


def send(connection: Connection, task_id: UUID, **columns: object) -> UUID:
    """Insert one message into the outbox of the login's own service."""
    values = {"task_id": task_id, "type": "t", "subject": "s", "body": b"", "traceparent": "", **columns}
    places = ", ".join(f"%({name})s" for name in values)
    statement = f"INSERT INTO outbox ({', '.join(values)}) VALUES ({places}) RETURNING id"
    row = connection.execute(statement, values).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return UUID(str(row[0]))


def end_task(world: World, task_id: UUID, ago: str) -> None:
    """As if the task had ended that long ago."""
    statement = "UPDATE kernel.tasks SET closed_at = now() - %s::interval WHERE task_id = %s RETURNING task_id"
    assert world.database.rows(statement, ago, task_id)


def opens(world: World, proof: str) -> bool:
    """Whether docs sees rows of its outbox, and of one tenant only, with the proof."""
    with world.session("docs_app", proof) as connection:
        rows = connection.execute("SELECT DISTINCT tenant_id FROM outbox").fetchall()
    assert rows in ([], [(world.a.tenant_id,)])
    return bool(rows)


def outbox_takes(world: World, proof: str, task_id: UUID) -> bool:
    """Whether docs may send a message of the task."""
    with world.session("docs_app", proof) as connection:
        try:
            send(connection, task_id)
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True


def inbox_takes(world: World, proof: str, message_id: UUID) -> bool:
    """Whether docs may note that it received the message."""
    with world.session("docs_app", proof) as connection:
        try:
            connection.execute("INSERT INTO inbox (message_id, consumer, type) VALUES (%s, 'c', 't')", (message_id,))
        except psycopg.errors.InsufficientPrivilege:
            return False
        return True


def tenants_of_one_prepared_statement(world: World) -> list[list[UUID]]:
    """What one connection sees with one generic plan as A, as B and as A again."""
    seen = []
    with psycopg.connect(world.database.dsn("gateway_app"), prepare_threshold=0) as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        for tenant in (world.a, world.b, world.a):
            connection.execute("SELECT kernel.open_session(%s)", (tenant.grant(),))
            rows = connection.execute("SELECT DISTINCT tenant_id FROM tasks").fetchall()
            seen.append([UUID(str(tenant_id)) for (tenant_id,) in rows])
            connection.commit()
    return seen
