"""The cross-tenant assertions; test_mutations.py takes protections away and expects these very assertions to fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from tests.isolation.filler import insert_statement, spare_row
from tests.isolation.tables import Table
from tests.isolation.world import Access, Connection, World

if TYPE_CHECKING:
    from collections.abc import Callable


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


def assert_no_row_of_another_tenant(world: World, login: str, tables: tuple[Table, ...] | None = None) -> None:
    """With A's proof: select, update, delete, insert as B, move to B. Raises Leaked."""
    with world.session(login, world.a.grant()) as connection:
        leaks = [
            Leak(str(table), action, login)
            for table in tables or world.tables
            for action, leaked in _foreign_actions(world, table, world.access(login, table))
            if leaked(connection)
        ]
    if leaks:
        raise Leaked(leaks)


def assert_no_row_at_all(world: World, login: str, proof: str | None, tables: tuple[Table, ...] | None = None) -> None:
    """With a proof that is not valid: select, update, delete, insert. Raises Leaked."""
    with world.session(login, proof) as connection:
        leaks = [
            Leak(str(table), action, login)
            for table in tables or world.tables
            for action, leaked in _actions(world, table, world.access(login, table))
            if leaked(connection)
        ]
    if leaks:
        raise Leaked(leaks)


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


def _foreign_actions(world: World, table: Table, access: Access) -> Iterator[tuple[str, Callable[[Connection], bool]]]:
    a, b = world.a.tenant_id, world.b.tenant_id
    other = f"WHERE tenant_id IS DISTINCT FROM '{a}'"
    yield "select", lambda connection: bool(_try(connection, f"SELECT tenant_id FROM {table} {other}"))
    yield "update", lambda connection: _touched(connection, _update(table, access, other)) > 0
    yield "delete", lambda connection: _touched(connection, f"DELETE FROM {table} {other}") > 0
    yield "insert", lambda connection: _inserted_elsewhere(connection, world, table, access, tenant_id=b)
    yield "move", lambda connection: _touched(connection, f"UPDATE {table} SET tenant_id = '{b}'") > 0


def _actions(world: World, table: Table, access: Access) -> Iterator[tuple[str, Callable[[Connection], bool]]]:
    a = world.a.tenant_id
    yield "select", lambda connection: bool(_try(connection, f"SELECT tenant_id FROM {table}"))
    yield "update", lambda connection: _touched(connection, _update(table, access, "")) > 0
    yield "delete", lambda connection: _touched(connection, f"DELETE FROM {table}") > 0
    yield "insert", lambda connection: _accepts(connection, world, table, access, tenant_id=a)


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
