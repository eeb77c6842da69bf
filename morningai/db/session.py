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
# With the receipts of what the proofs came with, in the same round trip.
RECEIVE: LiteralString = OPEN_SESSION.replace(
    "kernel.open_session(%(proof)s)",
    "kernel.receive(%(proofs)s::text[], %(message_ids)s::uuid[], %(consumer)s, %(types)s::text[]) AS are_new",
)
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
    # What is still to be written, in this session, before its transaction commits.
    before_commit: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
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

    async def write_rest(self) -> None:
        writers, self.before_commit = self.before_commit, []
        for write in writers:
            await write()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What the block does, or nothing of it when it raises."""
        await self.write_rest()
        async with self.connection.transaction():
            try:
                yield
                await self.write_rest()
            except BaseException:
                self.before_commit.clear()
                raise


@dataclass(frozen=True)
class Receipt:
    """Of a message that came under a proof."""

    message_id: UUID
    type: str


@dataclass(frozen=True)
class Transaction:
    """Of one tenant, in which several proofs may stand one after the other, each for what follows it."""

    connection: Connection
    sessions: list[Session] = field(default_factory=list)

    async def open_session(self, proof: str) -> Session:
        """Raises as `Database.tenant_session` does, and Unauthenticated for a proof of another tenant."""
        await self._open(OPEN_SESSION, {"proof": proof})
        return self._add(proof)

    async def receive(
        self, proofs: Sequence[str], receipts: Sequence[Receipt], *, consumer: str
    ) -> tuple[list[Session], list[bool]]:
        """What was opened, the last of which stands, and of each message whether it came for the first time: its
        receipt is written under its own proof. Waits for a transaction that holds one. Raises as `open_session` does.
        """
        given = {
            "proofs": list(proofs),
            "message_ids": [receipt.message_id for receipt in receipts],
            "types": [receipt.type for receipt in receipts],
            "consumer": consumer,
        }
        row = await self._open(RECEIVE, given)
        return [self._add(proof) for proof in proofs], list(row["are_new"])

    async def _open(self, query: LiteralString, given: Parameters) -> DictRow:
        parameters = given | _limits()
        await self.write_rest()
        try:
            if self.sessions:
                cursor = await self.connection.execute(query, parameters)
            else:
                cursor = psycopg.AsyncClientCursor(self.connection)
                await cursor.execute(f"BEGIN; {query}", parameters)
                cursor.nextset()
            row = await cursor.fetchone()
        except (psycopg.errors.InsufficientPrivilege, psycopg.DataError, UnicodeEncodeError) as error:
            raise Unauthenticated("The proof is missing, forged or expired.") from error
        except psycopg.errors.ObjectNotInPrerequisiteState as error:
            raise TaskEnded("The task of this seal has ended.") from error
        assert row is not None
        return row

    async def write_rest(self) -> None:
        for session in self.sessions[-1:]:
            await session.write_rest()
        if any(session.before_commit for session in self.sessions):
            raise RuntimeError("A session was written to after another one was opened in its transaction.")

    def _add(self, proof: str) -> Session:
        session = _session(self.connection, proof)
        if self.sessions and session.tenant_id != self.sessions[0].tenant_id:
            raise Unauthenticated("The proof is of another tenant than this transaction.")
        self.sessions.append(session)
        return session


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
            kwargs={"row_factory": dict_row, "autocommit": True},  # transactions begin above
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
        async with self.tenant_transaction() as transaction:
            yield await transaction.open_session(proof)

    @asynccontextmanager
    async def tenant_transaction(self) -> AsyncIterator[Transaction]:
        """It begins with the first proof, and commits when the block ends."""
        async with self._pool.connection(timeout=_seconds_left()) as connection:
            transaction = Transaction(connection)
            yield transaction
            await transaction.write_rest()
        for call in [call for session in transaction.sessions for call in session.after_commit]:
            call()
        if any(session.wakes_relay for session in transaction.sessions) and not self._wake_relay():
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
    return {"proof": proof, **_limits()}


def _limits() -> Parameters:
    left = _seconds_left()
    return {"trace_id": current_trace_id(), "milliseconds": None if left is None else str(ceil(left * 1000))}


def _session(connection: Connection, verified: str) -> Session:
    """The parts of a proof that PostgreSQL has just verified; its layout is in the kernel's migrations."""
    _, kind, tenant_id, principal, scopes, *rest = verified.split("|")
    task_id, message_id = (None, None) if kind == GRANT_KIND else (UUID(rest[0]), UUID(rest[1]))
    return Session(connection, UUID(tenant_id), principal, tuple(scopes.split(",")), task_id, message_id)
