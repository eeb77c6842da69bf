"""The orchestrator's queue as its transactions use it, without services: tasks come and end on connections of tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import psycopg

if TYPE_CHECKING:
    from tests.conftest import TestDatabase, TestTenant

Connection = psycopg.Connection[tuple[object, ...]]

ARRIVE = """
INSERT INTO tasks (task_id, instruction, source, kinds, priority, state, graph_version, traceparent)
VALUES (%s, 'x', 'sources/x', '{answer}', %s, 'queued', 1, '') RETURNING state
"""
HOLD = """
INSERT INTO outbox (task_id, type, subject, body, traceparent, due_at)
VALUES (%s, 'morningai.api.events.v1.StartTask', 'morningai.command.orchestrator.control', '', '', '9999-01-01')
RETURNING id
"""
LIMIT = """
INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', '{}', {})
ON CONFLICT (tenant_id, name) DO UPDATE SET operator_value = excluded.operator_value
"""


class Queue:
    def __init__(self, database: TestDatabase) -> None:
        self.database = database
        self._grants: dict[UUID, str] = {}

    def set_slots(self, slots: int) -> None:
        self.database.execute(f"UPDATE orchestrator.admission SET concurrency = {slots}")

    def set_limit(self, tenant: TestTenant, name: str, value: int) -> None:
        self.database.execute(LIMIT.format(tenant.tenant_id, name, value))

    @contextmanager
    def session(self, tenant: TestTenant) -> Iterator[Connection]:
        """A transaction of the orchestrator's, which the block commits by its end."""
        grant = self._grants.get(tenant.tenant_id) or self._grants.setdefault(tenant.tenant_id, tenant.grant())
        with psycopg.connect(self.database.dsn("orchestrator_app")) as connection:
            connection.execute("SELECT kernel.open_session(%s)", (grant,))
            yield connection

    def arrive(self, tenant: TestTenant, *, priority: int = 2) -> UUID:
        with self.session(tenant) as connection:
            return self.arrive_in(connection, tenant, priority=priority)

    def arrive_in(self, connection: Connection, tenant: TestTenant, *, priority: int = 2) -> UUID:
        task_id = tenant.open_task(uuid4())
        (state,) = connection.execute(ARRIVE, (task_id, priority)).fetchone() or ("",)
        if state == "queued":
            (start_id,) = connection.execute(HOLD, (task_id,)).fetchone() or (None,)
            connection.execute("UPDATE tasks SET start_id = %s WHERE task_id = %s", (start_id, task_id))
        return task_id

    def end(self, tenant: TestTenant, task_id: UUID, state: str = "succeeded") -> None:
        with self.session(tenant) as connection:
            self.end_in(connection, task_id, state)

    def end_in(self, connection: Connection, task_id: UUID, state: str = "succeeded") -> None:
        connection.execute("UPDATE tasks SET state = %s, ended_at = now() WHERE task_id = %s", (state, task_id))

    def state(self, task_id: UUID) -> object:
        return self.database.rows("SELECT state FROM orchestrator.tasks WHERE task_id = %s", task_id)[0][0]

    def in_slots(self) -> list[UUID]:
        rows = self.database.rows(
            "SELECT task_id FROM orchestrator.tasks WHERE state IN ('admitted', 'running') ORDER BY admitted_at"
        )
        return [UUID(str(task_id)) for (task_id,) in rows]

    def owner(self, task_id: UUID) -> UUID:
        rows = self.database.rows("SELECT tenant_id FROM orchestrator.tasks WHERE task_id = %s", task_id)
        return UUID(str(rows[0][0]))

    def served(self, tenants: dict[UUID, TestTenant], count: int) -> list[UUID]:
        """Whose tasks get the one slot, in order: each is ended for the next."""
        order = []
        for _ in range(count):
            (task_id,) = self.in_slots()
            order.append(self.owner(task_id))
            self.end(tenants[order[-1]], task_id)
        return order
