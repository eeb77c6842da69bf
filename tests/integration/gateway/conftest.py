from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from morningai.db.session import Database
from tests.conftest import PostgresServer, TestDatabase, TestTenant, clone, running_nats
from tests.integration.gateway.platform import (
    Client,
    Platform,
    bearer,
    connected,
    make_bundle,
    running_platform,
    upload,
)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def platform(postgres_server: PostgresServer) -> AsyncIterator[Platform]:
    """One set of processes for all tests here; each test makes its own tenants."""
    with (
        tempfile.TemporaryDirectory(prefix="gw") as folder,
        clone(postgres_server) as database,
    ):
        async with running_nats(Path(folder)) as nats_url:
            with running_platform(database, nats_url, Path(folder)) as started:
                yield started


@pytest.fixture
def new_tenant(platform: Platform) -> Callable[[], TestTenant]:
    return lambda: platform.database.create_tenant(f"t-{uuid4().hex[:12]}")


@pytest.fixture
def acme(new_tenant: Callable[[], TestTenant]) -> TestTenant:
    return new_tenant()


@pytest.fixture
async def connect(platform: Platform) -> AsyncIterator[Callable[..., object]]:
    """`await connect(key)`: a client with the key, or with other metadata."""
    async with AsyncExitStack() as stack:

        async def connect(key: str = "", *metadata: tuple[str, str]) -> Client:
            credentials = (bearer(key),) if key else ()
            return await stack.enter_async_context(connected(platform.address, *credentials, *metadata))

        yield connect


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def bundle(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return await make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
async def client(connect: Callable[..., object], acme: TestTenant, bundle: bytes) -> Client:
    """Of a tenant with one uploaded source, sources/small."""
    made: Client = await connect(acme.api_key)  # type: ignore[misc]
    await upload(made, bundle)
    return made


@pytest.fixture
async def gateway(database: TestDatabase) -> AsyncIterator[Database]:
    """The gateway's login, on a database of the test's own."""
    opened = Database(database.dsn("gateway_app"))
    await opened.open()
    yield opened
    await opened.close()
