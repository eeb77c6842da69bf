from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from tests.conftest import TEMPLATE, PostgresServer, TestDatabase
from tests.isolation.checks import send
from tests.isolation.world import World, make_world

ROWS = "Rows tried"
BUS_CALLS = "Calls tried on the bus"
RPC_CALLS = "Calls tried over RPC"
MUTANTS = "Mutants"
KILLED = "Mutants killed"
Note = Callable[[int], None]


def _noting(request: pytest.FixtureRequest, figure: str) -> Note:
    return lambda count: request.node.user_properties.append((figure, count))


@pytest.fixture
def rows_tried(request: pytest.FixtureRequest) -> Note:
    """Notes how many attempts at rows a test made; the sum is a figure of the proof. The same for those after it."""
    return _noting(request, ROWS)


@pytest.fixture
def calls_tried(request: pytest.FixtureRequest) -> Note:
    return _noting(request, BUS_CALLS)


@pytest.fixture
def rpc_calls_tried(request: pytest.FixtureRequest) -> Note:
    return _noting(request, RPC_CALLS)


@pytest.fixture
def mutant(request: pytest.FixtureRequest) -> None:
    """For a test of one mutant, which is killed when the test passes."""
    _noting(request, MUTANTS)(1)


@pytest.fixture
def mutants(request: pytest.FixtureRequest) -> Callable[[int, int], None]:
    """For a test of many: notes how many were made, and how many of them were killed."""

    def note(made: int, killed: int) -> None:
        request.node.user_properties += [(MUTANTS, made), (KILLED, killed)]

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures of the proof, of whatever part of it ran."""
    figures: Counter[str] = Counter()
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        if report.when == "call":
            figures.update(_figures(report))
    for figure in (ROWS, BUS_CALLS, RPC_CALLS):
        if figure in figures:
            terminalreporter.write_line(f"{figure}: {figures[figure]}")
    if MUTANTS in figures:
        terminalreporter.write_line(f"{KILLED}: {figures[KILLED]} of {figures[MUTANTS]}")


def _figures(report: pytest.TestReport) -> Counter[str]:
    found: Counter[str] = Counter()
    for name, value in report.user_properties:
        if name in (ROWS, BUS_CALLS, RPC_CALLS, MUTANTS, KILLED) and isinstance(value, int):
            found[name] += value
    if MUTANTS in found and KILLED not in found:
        found[KILLED] = found[MUTANTS] if report.passed else 0
    return found


@contextmanager
def _clone(server: PostgresServer, template: str) -> Iterator[TestDatabase]:
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.admin_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        yield TestDatabase(server, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    """Rows of two tenants in every table; every test leaves it as it was."""
    with _clone(postgres_server, TEMPLATE) as database:
        yield make_world(database)


@pytest.fixture
def weakened(world: World) -> Iterator[World]:
    """A copy of the world from which a test takes a protection away."""
    with _clone(world.database.server, world.database.name) as database:
        yield world.on(database)


@pytest.fixture
def sealed(weakened: World) -> tuple[World, UUID, UUID, str]:
    """A message of tenant A that the gateway sent: its world, id, task and seal."""
    task_id = uuid4()
    with psycopg.connect(weakened.database.dsn("gateway_app")) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (weakened.a.grant(),))
        message_id = send(connection, task_id)
    rows = weakened.database.rows("SELECT seal FROM gateway.outbox WHERE id = %s", message_id)
    return weakened, message_id, task_id, str(rows[0][0])
