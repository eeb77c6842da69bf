"""The relay's wake-ups: by another replica, and after its connection was lost, long before it would look by itself."""

from __future__ import annotations

from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.relay import LONGEST_SLEEP_SECONDS
from morningai.db.session import Database
from morningai.errors import Permanent

SOON_SECONDS = LONGEST_SLEEP_SECONDS / 2
PUBLISHED = "SELECT 1 FROM gateway.outbox WHERE published_at IS NOT NULL"


async def request_task(database, tenant):
    async with database.tenant_session(tenant.grant()) as session:
        await outbox.emit(session, events.TaskRequested(instruction="why?"), task_id=uuid4())


def gateway(handler):
    kinds = (
        events.TaskStarted,
        events.TaskStepChanged,
        events.TaskSucceeded,
        events.TaskPartlySucceeded,
        events.TaskFailed,
        events.TaskCancelled,
    )
    return dict.fromkeys(kinds, handler)


async def test_a_message_of_another_replica_wakes_the_active_relay(start_service, tenant, database, eventually):
    active = await start_service("gateway", gateway(None))
    await eventually(lambda: active.relay.active)
    other_replica = Database(database.dsn("gateway_app"), wake_relay=lambda: False)
    await other_replica.open()
    for count in (1, 2, 3):
        await request_task(other_replica, tenant)
        await eventually(lambda n=count: len(database.rows(PUBLISHED)) == n, seconds=SOON_SECONDS)
    await other_replica.close()


async def test_a_relay_whose_connection_was_ended_notices_at_once_and_goes_on(
    start_service, tenant, database, eventually
):
    service = await start_service("gateway", gateway(None))
    await eventually(lambda: service.relay.active)
    database.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway_relay'")
    await eventually(lambda: not service.relay.active, seconds=SOON_SECONDS)
    await eventually(lambda: service.relay.active, seconds=SOON_SECONDS)
    await request_task(service.database, tenant)
    await eventually(lambda: database.rows(PUBLISHED), seconds=SOON_SECONDS)


async def test_a_message_that_the_bus_would_refuse_is_not_written(tenant, database):
    gateway_rows = Database(database.dsn("gateway_app"))
    await gateway_rows.open()
    too_large = events.TaskRequested(instruction="x" * (outbox.LARGEST_BODY_BYTES + 1))
    async with gateway_rows.tenant_session(tenant.grant()) as session:
        with pytest.raises(Permanent, match="bytes"):
            await outbox.emit(session, too_large, task_id=uuid4())
    await gateway_rows.close()
    assert database.rows("SELECT 1 FROM gateway.outbox") == []
