"""Runs the door: tenancy's two connections, the callout, the acknowledgements and the watcher."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import nats
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from morningai.bus import subjects
from morningai.bus.issuer import Issuer
from morningai.bus.permissions import Permissions, inbox_prefix, subscriber_permissions
from morningai.bus.server_config import CALLOUT_SUBJECT, CALLOUT_USER, LEAVING_SUBJECT
from morningai.bus.tls import bus_context
from morningai.db.session import Database
from services.tenancy.settings import Settings
from services.tenancy.subscribers.callout import Callout
from services.tenancy.subscribers.replay import make_replay, pass_on
from services.tenancy.subscribers.roll import Roll
from services.tenancy.subscribers.watcher import Watcher

log = structlog.get_logger()


@dataclass(frozen=True)
class Door:
    """Its own connections: what subscribers do must not hold up tenancy's messages."""

    settings: Settings
    database: Database
    permit: Callable[[UUID, str], Permissions] = subscriber_permissions
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Runs until cancelled."""
        settings = self.settings
        async with (
            _connected(settings, settings.nats_user, settings.nats_password) as bus,
            _connected(settings, CALLOUT_USER, settings.callout_password) as system,
            asyncio.TaskGroup() as group,
        ):
            # Of several doors one passes it on: what is refused twice would be delivered twice.
            await bus.subscribe(
                f"{subjects.ACKNOWLEDGEMENT_PREFIX}.>", queue=settings.nats_user, cb=partial(pass_on, bus)
            )
            roll = Roll(settings.connections_per_tenant, settings.durables_per_tenant)
            watcher = Watcher(system, bus, self.database, roll)
            await system.subscribe(LEAVING_SUBJECT, cb=watcher.on_leaving)
            await system.flush()
            group.create_task(watcher.run())
            # Who is in already counts before anybody else comes in.
            await watcher.looked.wait()
            issuer = Issuer(settings.issuer_secret)
            callout = Callout(self.database, issuer, roll, partial(make_replay, bus), self.permit)
            questions = await system.subscribe(CALLOUT_SUBJECT)
            await system.flush()
            group.create_task(_answer(questions, callout))
            self.opened.set()
            log.info("tenancy.door.opened")


async def _answer(questions: Subscription, callout: Callout) -> None:
    async def answer(message: Msg) -> None:
        response = await callout.answer(message.data.decode(errors="replace"))
        if response:
            await message.respond(response.encode())

    async with asyncio.TaskGroup() as group:
        async for question in questions.messages:
            group.create_task(answer(question))


@asynccontextmanager
async def _connected(settings: Settings, user: str, password: str) -> AsyncIterator[Client]:
    """A client that comes back for ever."""
    context = bus_context(settings)
    client = await nats.connect(
        settings.nats_urls,
        tls=context,
        tls_handshake_first=context is not None,
        user=user,
        password=password,
        name=f"morningai-{user}-door",
        inbox_prefix=inbox_prefix(user),
        max_reconnect_attempts=-1,
        reconnect_time_wait=1,
        error_cb=_on_error,
    )
    try:
        yield client
    finally:
        await client.close()


async def _on_error(error: Exception) -> None:
    log.warning("tenancy.door.error", error=f"{type(error).__name__}: {error}")
