from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from tests.conftest import PostgresServer, clone
from tests.isolation.checks import send
from tests.isolation.world import World, make_world

CALLS_TRIED = "calls_tried"


@pytest.fixture
def calls_tried(request: pytest.FixtureRequest) -> Callable[[int], None]:
    """Notes how many calls a test tried; the sum is a figure of the proof."""
    return lambda count: request.node.user_properties.append((CALLS_TRIED, count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed")
    counts = [value for report in reports for name, value in report.user_properties if name == CALLS_TRIED]
    if counts:
        terminalreporter.write_line(f"Calls tried on the bus: {sum(counts)}")


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
