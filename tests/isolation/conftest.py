from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.conftest import PostgresServer, clone
from tests.isolation.checks import send
from tests.isolation.world import World, make_world

# What the tests note, and how the summary says the sum.
FIGURES = {
    "rows": "Rows tried: {}",
    "bus": "Calls tried on the bus: {}",
    "rpc": "Calls tried over RPC: {}",
}
MUTANT, MUTANTS, KILLED = "mutant", "mutants", "killed"


@pytest.fixture
def tried(request: pytest.FixtureRequest) -> Callable[[str, int], None]:
    """`tried("bus", 12)` notes a figure of the proof."""
    return lambda kind, count: request.node.user_properties.append((kind, count))


@pytest.fixture
def killed(request: pytest.FixtureRequest) -> Callable[[Collection[object], Collection[object]], None]:
    """`killed(mutants, noticed)`: each mutant must be among what the named assertion noticed."""

    def note(mutants: Collection[object], noticed: Collection[object]) -> None:
        assert mutants, "no mutant was made"
        survived = [mutant for mutant in mutants if mutant not in noticed]
        request.node.user_properties += [(MUTANTS, len(mutants)), (KILLED, len(mutants) - len(survived))]
        assert survived == []

    return note


@pytest.fixture
def mutant(request: pytest.FixtureRequest) -> None:
    """For a test of one mutant, which is killed when the test passes."""
    request.node.user_properties.append((MUTANT, 1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    noted = Counter[str]()
    for report in reports:
        noted.update(_summed(report.user_properties))
        if report.passed:
            noted[KILLED] += _summed(report.user_properties)[MUTANT]
    for kind, line in FIGURES.items():
        if noted[kind]:
            terminalreporter.write_line(line.format(f"{noted[kind]:,}"))
    made = noted[MUTANTS] + noted[MUTANT]
    if made:
        terminalreporter.write_line(f"Mutants killed: {noted[KILLED]:,} of {made:,}")


def _summed(properties: list[tuple[str, object]]) -> Counter[str]:
    known = {*FIGURES, MUTANT, MUTANTS, KILLED}
    counts = Counter[str]()
    for name, value in properties:
        if name in known and isinstance(value, int):
            counts[name] += value
    return counts


@pytest.fixture(scope="session")
def world(postgres_server: PostgresServer) -> Iterator[World]:
    """Rows of two tenants in every table; every test leaves it as it was."""
    with clone(postgres_server) as database:
        yield make_world(database)


@pytest.fixture
def weakened(world: World) -> Iterator[World]:
    """A copy of the world from which a test takes a protection away."""
    with clone(world.database.server, world.database.name) as database:
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
