"""The bus's door, open: tenancy's part of it runs in the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import nats
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg
from pydantic import SecretStr

from morningai.bus import subjects
from morningai.bus.permissions import BUS_OWNER, Permissions, inbox_prefix, subscriber_permissions
from morningai.bus.topology import ensure_topology
from morningai.db.session import Database
from morningai.secrets.key_ring import make_key
from services.tenancy.settings import Settings
from services.tenancy.subscribers.door import Door

if TYPE_CHECKING:
    from tests.conftest import TestDatabase, TestTenant

PASSWORD = "test-only"


@dataclass
class Connected:
    """A subscriber's client, and what the server told it."""

    client: Client
    errors: list[str] = field(default_factory=list)
    heard: list[Msg] = field(default_factory=list)

    async def listen(self, subject: str, *, acknowledge: bool = False) -> None:
        async def hear(message: Msg) -> None:
            self.heard.append(message)
            if acknowledge:
                await message.ack()

        await self.client.subscribe(subject, cb=hear)
        await self.client.flush()


Connect = Callable[..., Awaitable[Connected]]


def door_settings(database: TestDatabase, nats_url: str, folder: Path, **settings: object) -> Settings:
    return Settings(
        database_dsn=database.dsn("tenancy_app"),
        relay_dsn=database.dsn("tenancy_relay"),
        nats_url=nats_url,
        nats_user=BUS_OWNER,
        nats_password=PASSWORD,
        callout_password=PASSWORD,
        issuer_secret=PASSWORD,
        secret_keys=SecretStr(make_key("k1")),
        grpc_address=f"unix:{folder}/tenancy.sock",
        work_dir=folder,
        **settings,  # type: ignore[arg-type]
    )


@asynccontextmanager
async def open_door(
    settings: Settings, permit: Callable[[UUID, str], Permissions] = subscriber_permissions
) -> AsyncIterator[asyncio.Task[None]]:
    database = Database(settings.database_dsn)
    await database.open()
    await _make_streams(settings)
    door = Door(settings, database, permit)
    running = asyncio.create_task(door.run())
    async with asyncio.timeout(10):
        await door.opened.wait()
    yield running
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await database.close()


async def _make_streams(settings: Settings) -> None:
    client = await nats.connect(
        settings.nats_url, user=BUS_OWNER, password=PASSWORD, inbox_prefix=inbox_prefix(BUS_OWNER)
    )
    await ensure_topology(client.jetstream(), ack_wait_seconds=30, services=())
    await client.close()


@pytest_asyncio.fixture
async def door(database: TestDatabase, nats_url: str, tmp_path: Path) -> AsyncIterator[asyncio.Task[None]]:
    async with open_door(door_settings(database, nats_url, tmp_path)) as running:
        yield running


@pytest_asyncio.fixture
async def connect(nats_url: str) -> AsyncIterator[Connect]:
    async with AsyncExitStack() as stack:

        async def connected(key: str, **options: object) -> Connected:
            subscriber = Connected(Client())

            async def remember(error: Exception) -> None:
                subscriber.errors.append(str(error))

            stack.push_async_callback(subscriber.client.close)
            await subscriber.client.connect(
                nats_url,
                # Longer than the server waits for the callout, whose verdict is what a test looks at.
                **({"token": key, "allow_reconnect": False, "connect_timeout": 10, "error_cb": remember} | options),
            )
            return subscriber

        yield connected


def live_of(tenant: TestTenant) -> str:
    return f"{subjects.PUBLIC_PREFIX}.{tenant.tenant_id}.>"


def replay_of(tenant: TestTenant) -> str:
    return subjects.replay_subject(tenant.tenant_id, key_id_of(tenant))


def durable_of(tenant: TestTenant) -> str:
    return subjects.replay_durable(tenant.tenant_id, key_id_of(tenant))


def key_id_of(tenant: TestTenant) -> str:
    return tenant.api_key.partition(".")[0]
