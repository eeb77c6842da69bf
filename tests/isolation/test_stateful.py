"""Random work of several tenants through the services' own pool.

Connections are shared, and whatever ends a session, the next one sees its own tenant's rows and no others.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from psycopg import sql

from morningai.db import session as session_module
from morningai.db.session import Connection, Database, Session
from morningai.errors import Unauthenticated
from tests.conftest import TestDatabase, TestTenant, clone
from tests.isolation.checks import Leak, Leaked

LOGIN = "docs_app"
INSERT: LiteralString = """
INSERT INTO sources (source_id, kind, repository, remote_uri, failure)
VALUES (%(id)s, 'remote', 'r', 'https://example.org/r', %(text)s)
"""
SEEN: LiteralString = "SELECT tenant_id, source_id, failure FROM sources"
# What a transaction may leave on its connection; it is looked for in the sessions after it.
LEFTOVERS: dict[str, LiteralString] = {
    "a proof": "SELECT set_config('morningai.proof', current_setting('morningai.proof'), false)",
    "a tenant": "SELECT set_config('morningai.proof', %(other)s, false)",
    "a listener": "LISTEN leftover",
    "a cursor": "DECLARE leftover CURSOR WITH HOLD FOR SELECT tenant_id, source_id, failure FROM sources",
    "a table": "CREATE TEMPORARY TABLE sources AS SELECT * FROM sources",
}
IDS = st.sampled_from(["one", "two", "three"])
TENANTS = st.integers(0, 4)
RUNS = settings(
    max_examples=15,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
# A lost protection is noticed, and not made small: that would take most of the time.
CONTROL = settings(RUNS, derandomize=True, max_examples=60, database=None, phases=[Phase.generate])


class Rollback(Exception):
    """Ends a session without a fault."""


@dataclass
class Shop:
    """The tenants' rows as they must be: by tenant, the text of each source."""

    database: TestDatabase
    tenants: list[TestTenant]
    grants: list[str]
    rows_seen: int = 0
    kept: dict[int, dict[str, str]] = field(default_factory=dict)


def machine_of(shop: Shop) -> type[RuleBasedStateMachine]:
    class Sessions(RuleBasedStateMachine):
        """Every rule is one or more sessions; every invariant is asked through the same two connections."""

        sessions = Bundle("sessions")

        def __init__(self) -> None:
            super().__init__()
            self.runner = asyncio.Runner()
            self.database = Database(shop.database.dsn(LOGIN), max_connections=2)
            self.count = 2

        @initialize(count=st.integers(2, 5))
        def begin(self, count: int) -> None:
            self.count = count
            shop.kept = {number: {} for number in range(count)}
            shop.database.execute("DELETE FROM docs.sources")
            self.runner.run(self.database.open())

            async def work() -> None:
                for number in range(count):
                    async with self.session(number) as session:
                        await session.execute(INSERT, {"id": "first", "text": str(number)})
                    shop.kept[number]["first"] = str(number)

            self.run(work)

        def teardown(self) -> None:
            self.runner.run(self.database.close())
            self.runner.close()

        def tenant(self, number: int) -> int:
            return number % self.count

        def grant(self, number: int) -> str:
            return shop.grants[number]

        def run(self, work: Callable[[], Awaitable[None]]) -> None:
            async def bounded() -> None:
                async with asyncio.timeout(20):
                    await work()

            self.runner.run(bounded())

        @contextlib.asynccontextmanager
        async def session(self, number: int) -> AsyncIterator[Session]:
            async with self.database.tenant_session(self.grant(number)) as session:
                await self.check(session, number, f"its own rows at the beginning of a session of {number}")
                yield session

        async def check(self, session: Session, number: int, what: str) -> None:
            expected = {(shop.tenants[number].tenant_id, *row) for row in shop.kept[number].items()}
            await self.compare(session.connection, expected, what)

        async def compare(self, connection: Connection, expected: set[tuple[object, ...]], what: str) -> None:
            rows = {tuple(row.values()) for row in await (await connection.execute(SEEN)).fetchall()}
            shop.rows_seen += len(rows)
            if rows != expected:
                raise Leaked([Leak("docs.sources", f"{what}: {sorted(map(str, rows ^ expected))}", LOGIN)])

        @rule(number=TENANTS, source=IDS, text=st.text("xyz", min_size=1, max_size=3))
        def insert(self, number: int, source: str, text: str) -> None:
            number = self.tenant(number)

            async def work() -> None:
                taken = source in shop.kept[number]
                with pytest.raises(psycopg.errors.UniqueViolation) if taken else contextlib.nullcontext():
                    async with self.session(number) as session:
                        await session.execute(INSERT, {"id": source, "text": f"{number}{text}"})
                if not taken:
                    shop.kept[number][source] = f"{number}{text}"

            self.run(work)

        @rule(number=TENANTS, text=st.text("xyz", min_size=1, max_size=3))
        def update_everything(self, number: int, text: str) -> None:
            number = self.tenant(number)

            async def work() -> None:
                async with self.session(number) as session:
                    changed = await session.execute(
                        "UPDATE sources SET failure = %(text)s", {"text": f"{number}{text}"}
                    )
                    assert changed == len(shop.kept[number])
                shop.kept[number] = dict.fromkeys(shop.kept[number], f"{number}{text}")

            self.run(work)

        @rule(number=TENANTS, source=IDS)
        def delete(self, number: int, source: str) -> None:
            number = self.tenant(number)

            async def work() -> None:
                async with self.session(number) as session:
                    await session.execute("DELETE FROM sources WHERE source_id = %(id)s", {"id": source})
                shop.kept[number].pop(source, None)

            self.run(work)

        @rule(number=TENANTS, inner=st.booleans())
        def roll_back(self, number: int, inner: bool) -> None:
            """The whole session, or what was done since a savepoint."""
            number = self.tenant(number)

            async def work() -> None:
                with contextlib.suppress(Rollback):
                    async with self.session(number) as session:
                        with contextlib.suppress(Rollback):
                            async with session.connection.transaction():
                                await session.execute("UPDATE sources SET failure = 'undone'")
                                raise Rollback
                        await self.check(session, number, "after a savepoint that was rolled back")
                        if not inner:
                            await session.execute("DELETE FROM sources")
                            raise Rollback

            self.run(work)

        @rule(number=TENANTS, waits=st.sampled_from(["in a query", "for a connection"]))
        def cancel(self, number: int, waits: str) -> None:
            number = self.tenant(number)

            async def sleeper(holding: bool) -> None:
                async with self.database.tenant_session(self.grant(number)) as session:
                    await session.execute("UPDATE sources SET failure = 'cancelled'")
                    await session.execute("SELECT pg_sleep(30)" if holding else "SELECT 1")
                    await asyncio.sleep(30)

            async def work() -> None:
                holders = 2 if waits == "for a connection" else 1
                tasks = [asyncio.create_task(sleeper(index == 0)) for index in range(holders)]
                await asyncio.sleep(0.03)
                late = asyncio.create_task(sleeper(True))
                await asyncio.sleep(0.01)
                # Again: asyncio.wait_for of Python 3.11 loses one to a connection that comes meanwhile.
                running = {late, *tasks}
                while running:
                    for task in running:
                        task.cancel()
                    _, running = await asyncio.wait(running, timeout=0.1)

            self.run(work)

        @rule(
            number=TENANTS,
            statement=st.sampled_from(
                [
                    "SELECT 1 / 0",
                    "SELECT no_such_column FROM sources",
                    "SET LOCAL statement_timeout = '5ms'; SELECT pg_sleep(5)",
                    "SELECT pg_terminate_backend(pg_backend_pid())",
                ]
            ),
        )
        def fail(self, number: int, statement: LiteralString) -> None:
            number = self.tenant(number)

            async def attempt() -> None:
                async with self.session(number) as session:
                    await session.execute("DELETE FROM sources")
                    await session.execute(statement)

            async def work() -> None:
                with pytest.raises(psycopg.Error):
                    await attempt()

            self.run(work)

        @rule(number=TENANTS, kind=st.sampled_from(["expired", "forged", "garbage", "empty", "another tenant's MAC"]))
        def refuse(self, number: int, kind: str) -> None:
            number, other = self.tenant(number), self.tenant(number + 1)
            expired = "SELECT kernel.mint_grant(%s, 'key:mk_test', ARRAY['tasks.read'], '-1 hour'::interval)"
            good = self.grant(number)
            proof = {
                "expired": lambda: shop.database.rows(expired, shop.tenants[number].tenant_id)[0][0],
                "forged": lambda: good[:-1] + ("0" if good[-1] != "0" else "1"),
                "garbage": lambda: "garbage",
                "empty": lambda: "",
                "another tenant's MAC": lambda: good[:-64] + self.grant(other)[-64:],
            }[kind]()

            async def attempt() -> None:
                async with self.database.tenant_session(proof):
                    raise Leaked([Leak("docs.sources", f"a session opened with a proof that is {kind}", LOGIN)])

            async def work() -> None:
                with pytest.raises(Unauthenticated):
                    await attempt()

            self.run(work)

        @rule(number=TENANTS, kind=st.sampled_from(sorted(LEFTOVERS)))
        def leave_something_behind(self, number: int, kind: str) -> None:
            """What a statement that was smuggled into a service could do to the connection that others get next."""
            number = self.tenant(number)
            other = self.grant(self.tenant(number + 1))

            async def work() -> None:
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege, psycopg.errors.DuplicateCursor):
                    async with self.session(number) as session:
                        await session.execute(LEFTOVERS[kind].replace("%(other)s", f"'{other}'"))

            self.run(work)

        @rule(first=TENANTS, second=TENANTS)
        def interleave(self, first: int, second: int) -> None:
            first, second = self.tenant(first), self.tenant(second)

            async def reader(number: int) -> None:
                async with self.session(number) as session:
                    for _ in range(3):
                        await asyncio.sleep(0)
                        await self.check(session, number, f"beside a session of {second if number == first else first}")

            async def work() -> None:
                await asyncio.gather(reader(first), reader(second), reader(first))

            self.run(work)

        @invariant()
        def each_tenant_sees_its_own_rows(self) -> None:
            async def work() -> None:
                for number in range(self.count):
                    async with self.session(number):
                        pass

            self.run(work)

        @invariant()
        def nobody_sees_rows_without_a_proof(self) -> None:
            async def work() -> None:
                async with self.database.connection() as one, self.database.connection() as other:
                    for connection in (one, other):
                        await self.compare(connection, set(), "a connection without a session")

            self.run(work)

    return Sessions


@pytest.fixture
def shop(postgres_server):
    with clone(postgres_server) as database:
        tenants = [database.create_tenant(f"tenant-{number}") for number in range(5)]
        yield Shop(database, tenants, [tenant.grant() for tenant in tenants])


def test_random_sessions_of_several_tenants_stay_apart(shop, tried):
    run_state_machine_as_test(machine_of(shop), settings=RUNS)
    tried("rows", shop.rows_seen)
    assert shop.rows_seen > 100


BELIEVED = """
CREATE OR REPLACE FUNCTION kernel.tenant_id() RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT nullif(split_part(current_setting('morningai.proof', true), '|', 3), '')::uuid
$$
"""


def a_policy_that_shows_all(shop: Shop, _: pytest.MonkeyPatch) -> None:
    shop.database.execute("ALTER POLICY tenant ON docs.sources USING (true)")


def a_proof_that_is_set_for_the_connection(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.database.execute(BELIEVED)
    opening = f"{session_module.OPEN_SESSION}, set_config('morningai.proof', %(proof)s, false)"
    monkeypatch.setattr(session_module, "OPEN_SESSION", opening)


def temporary_tables(shop: Shop, _: pytest.MonkeyPatch) -> None:
    name = sql.Identifier(shop.database.name)
    with psycopg.connect(shop.database.admin_dsn, autocommit=True) as admin:
        admin.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(name))


@pytest.mark.parametrize(
    "take_away",
    [a_policy_that_shows_all, a_proof_that_is_set_for_the_connection, temporary_tables],
    ids=lambda mutation: mutation.__name__.replace("_", " "),
)
def test_a_lost_protection_is_noticed(shop, monkeypatch, take_away, killed):
    take_away(shop, monkeypatch)
    with pytest.raises(Leaked) as caught:
        run_state_machine_as_test(machine_of(shop), settings=CONTROL)
    killed(["docs.sources"], {leak.table for leak in caught.value.leaks})
