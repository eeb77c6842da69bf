"""The cross-tenant assertions; test_mutations.py takes protections away and expects these very assertions to fail."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from tests.isolation.attempts import Aim, NotTried, attempts_on, attempts_on_views, reaches
from tests.isolation.functions import effect_of, functions_of
from tests.isolation.tables import Table
from tests.isolation.world import Connection, World, accesses

PLAIN = ("select", "update", "move", "delete", "insert")


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


@dataclass
class Trial:
    """What came of the attempts in one session."""

    tried: int = 0
    reached: set[tuple[str, str]] = field(default_factory=set)
    permitted: set[tuple[str, str]] = field(default_factory=set)
    not_tried: list[str] = field(default_factory=list)

    def assert_nothing_leaked(self, login: str) -> None:
        """Raises Leaked, and NotTried when an attempt failed for a reason of its own."""
        if self.reached:
            raise Leaked([Leak(target, action, login) for target, action in sorted(self.reached)])
        if self.not_tried:
            raise NotTried("\n".join(self.not_tried))


def try_tables(
    world: World,
    connection: Connection,
    login: str,
    aim: Aim,
    *,
    tables: Iterable[Table] | None = None,
    operations: Collection[str] = (),
) -> Trial:
    """Every operation, or these, on every table, or these, and on every view."""
    trial = Trial()
    chosen = tuple(tables or world.tables)
    access = accesses(connection, login, chosen)
    attempts = [attempt for table in chosen for attempt in attempts_on(world, table, access[str(table)], aim)]
    for attempt in (*attempts, *attempts_on_views(connection, aim)):
        if operations and attempt.operation not in operations:
            continue
        trial.tried += 1
        cell = (attempt.target, attempt.operation)
        trial.permitted |= {cell} if attempt.permitted else set()
        try:
            trial.reached |= {cell} if reaches(connection, attempt) else set()
        except NotTried as error:
            trial.not_tried.append(str(error))
    return trial


def try_functions(world: World, connection: Connection, aim: Aim, *, names: Collection[str] = ()) -> Trial:
    """Every function, or these, that the session's user may execute; in the session of `World.acting`."""
    trial = Trial()
    for function in functions_of(connection):
        if names and function.name not in names:
            continue
        try:
            count, effect = effect_of(world, connection, function, aim)
        except NotTried as error:
            trial.not_tried.append(str(error))
            continue
        trial.tried += count
        trial.reached |= {(function.name, "function")} if effect and not effect.is_declared else set()
    return trial


def assert_no_row_of_another_tenant(world: World, login: str, tables: tuple[Table, ...] | None = None) -> None:
    """With A's proof. Raises Leaked."""
    aim = Aim(world.a.tenant_id, world.b.tenant_id, proven=True)
    with world.session(login, world.a.grant()) as connection:
        trial = try_tables(world, connection, login, aim, tables=tables)
    trial.assert_nothing_leaked(login)


def assert_no_row_at_all(world: World, login: str, proof: str | None, tables: tuple[Table, ...] | None = None) -> None:
    """With a proof that is not valid, were it A's: the plain operations. Raises Leaked."""
    aim = Aim(world.a.tenant_id, world.a.tenant_id, proven=False)
    with world.session(login, proof) as connection:
        trial = try_tables(world, connection, login, aim, tables=tables, operations=PLAIN)
    trial.assert_nothing_leaked(login)


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
