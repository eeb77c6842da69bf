"""Real PostgreSQL and real NATS for tests: embedded, or through testcontainers with MORNINGAI_TEST_SERVERS=containers.

A template database is migrated once; each test gets its clone, and a NATS server of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import UUID, uuid4

import nats
import psycopg
import pytest
import pytest_asyncio
import structlog
from google.protobuf.message import Message
from nats.js import JetStreamContext
from psycopg import sql
from psycopg.conninfo import make_conninfo

from morningai.bus import broker
from morningai.bus.broker import Handlers
from morningai.bus.permissions import BUS_OWNER, inbox_prefix
from morningai.bus.relay import Relay
from morningai.bus.server_config import BUS_SECRETS, nats_authorization, server_config
from morningai.bus.topology import ensure_topology
from morningai.db.migrate import LOGINS, ensure_operator_key, migrate
from morningai.db.session import Database
from morningai.embedded.nats import EmbeddedNats
from morningai.embedded.postgres import EmbeddedPostgres
from morningai.liveness import Liveness
from morningai.service import RelayHolder
from morningai.settings import ServiceSettings
from services.tenancy.domain.principals import ALL_SCOPES
from tests.door import PASSWORD, connect, door  # noqa: F401  fixtures

TEMPLATE = "morningai_template"
OPERATOR_KEY = "op_test.operator-secret"
PASSWORDS = dict.fromkeys(LOGINS, PASSWORD)
# Reads what no user of the product may read: for looking at what a test left on the bus.
SPECTATOR = "spectator"


def _with_spectator(config: str) -> str:
    """In the first account, that of the services, and not asked for a key."""
    for place, added in (
        ('"users": [', json.dumps({"user": SPECTATOR, "password": PASSWORD})),
        ('"auth_users": [', json.dumps(SPECTATOR)),
    ):
        assert place in config
        config = config.replace(place, f"{place}{added}, ", 1)
    return config


AUTHORIZATION = _with_spectator(nats_authorization(dict.fromkeys(BUS_SECRETS, PASSWORD)))
MEMORY = Path("/dev/shm")
LEAST_MEMORY_BYTES = 4 * 1024**3
CONTAINERS = os.environ.get("MORNINGAI_TEST_SERVERS") == "containers"
if CONTAINERS:
    # A container has an address of its own, which is not this machine's.
    os.environ["MORNINGAI_ALLOW_PLAINTEXT"] = "true"


class PostgresServer(Protocol):
    def admin_dsn(self, database: str = "postgres") -> str: ...


@dataclass(frozen=True)
class ContainerPostgres:
    host: str
    port: int

    def admin_dsn(self, database: str = "postgres") -> str:
        return f"postgresql://postgres:{PASSWORD}@{self.host}:{self.port}/{database}"


@pytest.fixture(autouse=True)
def _default_logging() -> Iterator[None]:
    """A test may send logs to its captured output, which is closed after it."""
    yield
    structlog.reset_defaults()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server() -> AsyncIterator[PostgresServer]:
    """A server whose template database holds the current schema."""
    if CONTAINERS:
        with _postgres_container() as server:
            _make_template(server)
            yield server
        return
    with tempfile.TemporaryDirectory(prefix="postgres-", dir=_memory()) as folder:
        server = EmbeddedPostgres(Path(folder) / "data")
        await server.start()
        await _until_healthy(server)
        await asyncio.to_thread(_make_template, server)
        yield server
        await server.stop()


def _memory() -> Path | None:
    """Where files cost nothing, if there is room: a clone makes six hundred, and a disk takes its time for each."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > LEAST_MEMORY_BYTES:
        return MEMORY
    return None


async def _until_healthy(server: EmbeddedPostgres | EmbeddedNats) -> None:
    while not await server.healthy():  # noqa: ASYNC110  a server has no event to wait for
        await asyncio.sleep(0.02)


def _make_template(server: PostgresServer) -> None:
    with psycopg.connect(server.admin_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
    migrate(server.admin_dsn(TEMPLATE), PASSWORDS)
    ensure_operator_key(server.admin_dsn(TEMPLATE), OPERATOR_KEY)


@dataclass(frozen=True)
class TestDatabase:
    """One test's clone of the template."""

    __test__ = False

    server: PostgresServer
    name: str

    @property
    def admin_dsn(self) -> str:
        return self.server.admin_dsn(self.name)

    def dsn(self, login: str) -> str:
        return make_conninfo(self.admin_dsn, user=login, password=PASSWORD)

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        """As the superuser, whom no policy holds: for looking at what a test left behind."""
        with self._connect() as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def rows_of(self, query: str, parameters: dict[str, object]) -> list[tuple[object, ...]]:
        with self._connect() as connection:
            return connection.execute(query, parameters).fetchall()  # type: ignore[arg-type]

    def execute(self, statement: str) -> None:
        with self._connect() as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    async def change(self, statement: str) -> None:
        """Execute beside what runs in this loop, which may hold the lock that the statement waits for."""
        await asyncio.to_thread(self.execute, statement)

    def _connect(self) -> psycopg.Connection:
        return psycopg.connect(self.admin_dsn, autocommit=True, options="-c lock_timeout=10s")

    def create_tenant(self, slug: str) -> TestTenant:
        """A tenant with one key, made as an operator would."""
        with psycopg.connect(self.dsn("tenancy_app")) as connection:
            grant = _one(connection, "SELECT tenancy.authenticate(%s)", OPERATOR_KEY)
            connection.execute("SELECT kernel.open_session(%s)", (grant,))
            key_id = f"mk_{uuid4().hex[:16]}"
            scopes = sorted(ALL_SCOPES)
            tenant_id = _one(
                connection, "SELECT tenancy.create_tenant(%s, %s, %s, %s, %s)", slug, slug, key_id, "secret", scopes
            )
        return TestTenant(self, UUID(str(tenant_id)), f"{key_id}.secret")


@dataclass(frozen=True)
class TestTenant:
    __test__ = False

    database: TestDatabase
    tenant_id: UUID
    api_key: str

    def open_task(self, task_id: UUID) -> UUID:
        """As if the gateway had accepted it: what seals belong to."""
        self.database.rows(
            "INSERT INTO kernel.tasks (tenant_id, task_id, principal) VALUES (%s, %s, 'key:mk_test') RETURNING task_id",
            self.tenant_id,
            task_id,
        )
        return task_id

    def grant(self) -> str:
        with psycopg.connect(self.database.dsn("gateway_app")) as connection:
            return str(_one(connection, "SELECT tenancy.authenticate(%s)", self.api_key))


def _one(connection: psycopg.Connection[tuple[object, ...]], query: str, *parameters: object) -> object:
    row = connection.execute(query, parameters).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


@contextmanager
def clone(server: PostgresServer, template: str = TEMPLATE) -> Iterator[TestDatabase]:
    """A database of its own, with everything of the template but the rights of a database, which are not copied."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(server.admin_dsn(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        admin.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        yield TestDatabase(server, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    with clone(postgres_server) as database:
        yield database


@pytest.fixture
def tenant(database: TestDatabase) -> TestTenant:
    return database.create_tenant("acme")


@asynccontextmanager
async def running_nats(folder: Path, authorization: str = AUTHORIZATION) -> AsyncIterator[str]:
    """The URL of a NATS server whose users and permissions are the catalogue's."""
    if CONTAINERS:
        with _nats_container() as url:
            yield url
        return
    server = EmbeddedNats(folder / "nats", None, authorization)
    await server.start()
    await _until_healthy(server)
    yield server.url
    await server.stop()


@pytest_asyncio.fixture
async def nats_url(tmp_path: Path) -> AsyncIterator[str]:
    async with running_nats(tmp_path) as url:
        yield url


@pytest_asyncio.fixture
async def spectator(nats_url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_url, user=SPECTATOR, password=PASSWORD)
    yield client.jetstream()
    await client.close()


@dataclass
class RunningService:
    """The bus side of a service, in the test's process: handlers, relay, database."""

    settings: ServiceSettings
    database: Database
    relay: Relay
    bus: broker.Bus
    liveness: Liveness
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)


StartService = Callable[..., "asyncio.Future[RunningService]"]


@pytest_asyncio.fixture
async def start_service(database: TestDatabase, nats_url: str, tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """`await start_service("docs", handlers, ack_wait_seconds=1)`; everything started stops with the test."""
    async with AsyncExitStack() as stack:

        async def start(service: str, handlers: Handlers, **settings: object) -> RunningService:
            values = {
                "database_dsn": database.dsn(f"{service}_app"),
                "relay_dsn": database.dsn(f"{service}_relay"),
                "nats_url": nats_url,
                "nats_user": service,
                "nats_password": PASSWORD,
                "grpc_address": f"unix:{tmp_path}/{service}.sock",
                "work_dir": tmp_path / "work",
                "retry_delay_seconds": 0.1,
                **settings,
            }
            return await stack.enter_async_context(_running(service, ServiceSettings(**values), handlers))  # type: ignore[arg-type]

        yield start


@asynccontextmanager
async def _running(service: str, settings: ServiceSettings, handlers: Handlers) -> AsyncIterator[RunningService]:
    holder = RelayHolder()
    database = Database(settings.database_dsn, wake_relay=holder.wake)
    await database.open()
    await make_consumers(service, settings)
    fetches = broker.Fetches()
    connected, jetstream = await broker.connect(service, settings, fetches)
    liveness = Liveness(stuck_seconds=settings.stuck_seconds)
    bus = await broker.subscribe(
        service,
        connected,
        jetstream,
        fetches,
        database=database,
        handlers=handlers,
        settings=settings,
        liveness=liveness,
    )
    relay = holder.relay = Relay(service, settings.relay_dsn, jetstream, loop=liveness.loop("relay"))
    relaying = asyncio.create_task(relay.run())
    await bus.start()
    yield RunningService(settings, database, relay, bus, liveness)
    await bus.stop()
    relaying.cancel()
    await asyncio.gather(relaying, return_exceptions=True)
    await database.close()


async def make_consumers(service: str, settings: ServiceSettings) -> None:
    """What the bus's owner does at its start, for one service and with this test's acknowledgement wait."""
    connection = await nats.connect(
        settings.nats_urls, user=BUS_OWNER, password=PASSWORD, inbox_prefix=inbox_prefix(BUS_OWNER).encode()
    )
    await ensure_topology(
        connection.jetstream(),
        ack_wait_seconds=settings.ack_wait_seconds,
        replicas=settings.bus_replicas,
        services=[service],
    )
    await connection.close()


async def eventually(check: Callable[[], object], *, seconds: float = 30.0) -> None:
    """Wait until `check` is true; the last try's assertion or value is the failure."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, "did not happen in time"
        await asyncio.sleep(0.05)


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., object]:
    return eventually


@pytest.fixture
def outgoing(database: TestDatabase) -> Callable[[str], list[str]]:
    """The short names of the messages in a service's outbox, oldest first."""

    def names(service: str) -> list[str]:
        rows = database.rows(f"SELECT type FROM {service}.outbox ORDER BY id")
        return [str(row[0]).rpartition(".")[2] for row in rows]

    return names


def message_name(message: type[Message]) -> str:
    return str(message.DESCRIPTOR.name)


@contextmanager
def _postgres_container() -> Iterator[PostgresServer]:
    from testcontainers.community.postgres import PostgresContainer

    image = os.environ.get("POSTGRES_IMAGE", "pgvector/pgvector:pg18")
    # What a test loses with the machine nobody misses; the template is cloned for each of them.
    unsafe = "postgres -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    with PostgresContainer(image, username="postgres", password=PASSWORD, command=unsafe) as container:
        yield ContainerPostgres(container.get_container_host_ip(), int(container.get_exposed_port(5432)))


@contextmanager
def _nats_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    config = _with_spectator(server_config(dict.fromkeys(BUS_SECRETS, PASSWORD), store_folder=Path("/data")))
    container = (
        DockerContainer(os.environ.get("NATS_IMAGE", "nats:2.15-alpine"), command="--config /nats.conf")
        .with_copy_into_container(config.encode(), "/nats.conf")
        .with_exposed_ports(4222)
        .waiting_for(LogMessageWaitStrategy("Server is ready"))
    )
    with container:
        yield f"nats://{container.get_container_host_ip()}:{container.get_exposed_port(4222)}"
