"""`tenant_session(proof)`: the only way to a connection that sees a tenant's rows.

The proof is verified by PostgreSQL; the transaction commits when the block ends and rolls back when it raises.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from typing import LiteralString, TypeAlias, cast
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from morningai.deadline import seconds_left
from morningai.errors import DeadlineExceeded, TaskEnded, Unauthenticated
from morningai.telemetry import current_trace_id

Connection: TypeAlias = psycopg.AsyncConnection[DictRow]
Parameters: TypeAlias = dict[str, object]

# One statement, so that the deadline costs no round trip; it holds for the statements after it. The first of a
# transaction takes its BEGIN along.
OPEN_SESSION: LiteralString = """
SELECT kernel.open_session(%(proof)s), set_config('morningai.trace_id', %(trace_id)s, true),
       set_config('statement_timeout', coalesce(%(milliseconds)s, current_setting('statement_timeout')), true)
"""
GRANT_KIND = "g"
# The pool waits twice as long from try to try, up to minutes; a try that it gives up, the next that asks begins anew.
RECONNECT_SECONDS = 4.0


@dataclass
class Session:
    """One transaction of one tenant."""

    connection: Connection
    tenant_id: UUID
    principal: str
    scopes: tuple[str, ...]
    task_id: UUID | None
    message_id: UUID | None
    wakes_relay: bool = False
    after_commit: list[Callable[[], None]] = field(default_factory=list)

    async def rows(self, query: LiteralString, parameters: Parameters | None = None) -> list[DictRow]:
        cursor = await self.connection.execute(query, parameters)
        return await cursor.fetchall()

    async def row(self, query: LiteralString, parameters: Parameters | None = None) -> DictRow | None:
        cursor = await self.connection.execute(query, parameters)
        return await cursor.fetchone()

    async def execute(self, query: LiteralString, parameters: Parameters | None = None) -> int:
        """Run a statement and return the number of rows it touched."""
        return (await self.connection.execute(query, parameters)).rowcount

    async def execute_many(self, query: LiteralString, parameters: Sequence[Parameters]) -> None:
        async with self.connection.cursor() as cursor:
            await cursor.executemany(query, parameters)


OpenSession: TypeAlias = Callable[[str], Awaitable[Session]]


class Database:
    """The pool of one service's login."""

    def __init__(self, dsn: str, *, max_connections: int = 8, wake_relay: Callable[[], bool] = lambda: False) -> None:
        self._wake_relay = wake_relay
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            min_size=1,
            max_size=max_connections,
            open=False,
            reconnect_timeout=RECONNECT_SECONDS,
            connection_class=cast(type[Connection], psycopg.AsyncConnection),
            kwargs={"row_factory": dict_row, "autocommit": True},  # transactions begin below
        )

    async def open(self) -> None:
        await self._pool.open(wait=True)

    async def close(self) -> None:
        await self._pool.close()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A transaction without a tenant: it sees no tenant's rows."""
        async with self._pool.connection() as connection, connection.transaction():
            yield connection

    async def decide(self, query: LiteralString, parameters: Parameters) -> DictRow | None:
        """One statement that is a transaction of its own, in one round trip. Raises DeadlineExceeded."""
        async with self._pool.connection(timeout=_seconds_left()) as connection:
            return await (await connection.execute(query, parameters)).fetchone()

    @asynccontextmanager
    async def tenant_session(self, proof: str) -> AsyncIterator[Session]:
        """Open a transaction as the proof's tenant.

        Raises Unauthenticated when PostgreSQL refuses the proof, TaskEnded for a seal that ended with its task,
        DeadlineExceeded once the call's time is up. No statement outlasts the call.
        """
        async with self.tenant_sessions() as open_session:
            yield await open_session(proof)

    @asynccontextmanager
    async def tenant_sessions(self) -> AsyncIterator[OpenSession]:
        """One transaction of one tenant, in which several proofs stand one after the other, each for what follows it.

        Opening raises as `tenant_session` does, and Unauthenticated for a proof of another tenant.
        """
        sessions: list[Session] = []
        async with self._pool.connection(timeout=_seconds_left()) as connection:

            async def open_session(proof: str) -> Session:
                session = await _open(connection, proof, begin=not sessions)
                if sessions and session.tenant_id != sessions[0].tenant_id:
                    raise Unauthenticated("The proof is of another tenant than this transaction.")
                sessions.append(session)
                return session

            yield open_session
        for call in [call for session in sessions for call in session.after_commit]:
            call()
        if any(session.wakes_relay for session in sessions) and not self._wake_relay():
            await self._notify_active_relay()

    async def _notify_active_relay(self) -> None:
        # The transaction is committed; a relay that is not told looks by itself within seconds.
        with suppress(psycopg.OperationalError):
            async with self._pool.connection() as connection:
                await connection.execute("SELECT pg_notify('outbox_' || current_schema(), '')")


def _seconds_left() -> float | None:
    """None without a deadline. Raises DeadlineExceeded."""
    left = seconds_left()
    if left is not None and left <= 0:
        raise DeadlineExceeded("The call's time was up before its work was done.", remedy="Allow it more time.")
    return left


def opening(proof: str) -> Parameters:
    """The parameters of OPEN_SESSION. Raises DeadlineExceeded."""
    left = _seconds_left()
    milliseconds = None if left is None else str(ceil(left * 1000))
    return {"proof": proof, "trace_id": current_trace_id(), "milliseconds": milliseconds}


async def _open(connection: Connection, proof: str, *, begin: bool) -> Session:
    try:
        if begin:
            await psycopg.AsyncClientCursor(connection).execute(f"BEGIN; {OPEN_SESSION}", opening(proof))
        else:
            await connection.execute(OPEN_SESSION, opening(proof))
    except (psycopg.errors.InsufficientPrivilege, psycopg.DataError, UnicodeEncodeError) as error:
        raise Unauthenticated("The proof is missing, forged or expired.") from error
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise TaskEnded("The task of this seal has ended.") from error
    return _session(connection, proof)


def _session(connection: Connection, verified: str) -> Session:
    """The parts of a proof that PostgreSQL has just verified; its layout is in the kernel's migrations."""
    _, kind, tenant_id, principal, scopes, *rest = verified.split("|")
    task_id, message_id = (None, None) if kind == GRANT_KIND else (UUID(rest[0]), UUID(rest[1]))
    return Session(connection, UUID(tenant_id), principal, tuple(scopes.split(",")), task_id, message_id)
