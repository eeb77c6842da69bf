"""The relay's wake-ups: by another replica, and after its connection was lost, long before it would look by itself."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.bus import outbox
from morningai.bus.relay import BATCH, LONGEST_SLEEP_SECONDS, PUBLISH_SECONDS
from morningai.db.session import Database
from morningai.errors import Permanent
from services.gateway.handlers import SCHEDULE_HANDLERS, TASK_EVENTS

SOON_SECONDS = LONGEST_SLEEP_SECONDS / 2
PUBLISHED = "SELECT 1 FROM gateway.outbox WHERE published_at IS NOT NULL"


async def request_task(database, tenant):
    async with database.tenant_session(tenant.grant()) as session:
        await outbox.emit(session, events.TaskRequested(instruction="why?"), task_id=uuid4())


def gateway(handler):
    return dict.fromkeys((*TASK_EVENTS, *SCHEDULE_HANDLERS), handler)


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


UNPUBLISHED = "SELECT id FROM gateway.outbox WHERE published_at IS NULL"
LATER_TYPE = "morningai.api.events.v1.TaskOfTomorrow"
# Nobody may publish the first; the client itself refuses the second.
REFUSED = {"subject": f"'morningai.event.{uuid4()}.task.invented'", "body": "convert_to(repeat('x', 2000000), 'UTF8')"}


async def spoilt(database, tenant, service, change):
    """A row of the outbox that is due once it was changed."""
    async with service.database.tenant_session(tenant.grant()) as session:
        later = await outbox.emit(session, events.TaskRequested(), task_id=uuid4(), delay_seconds=60)
    await database.change(f"UPDATE gateway.outbox SET {change}, due_at = now() WHERE id = '{later}'")
    return later


async def test_a_message_of_a_type_that_this_version_does_not_know_waits_for_the_next(
    start_service, tenant, database, eventually
):
    service = await start_service("gateway", gateway(None))
    unknown = await spoilt(database, tenant, service, f"type = '{LATER_TYPE}'")
    await request_task(service.database, tenant)
    await eventually(lambda: database.rows(PUBLISHED), seconds=SOON_SECONDS)
    assert database.rows(UNPUBLISHED) == [(unknown,)]
    assert service.relay.active
    await database.change("UPDATE gateway.outbox SET type = 'morningai.api.events.v1.TaskRequested'")
    await eventually(lambda: not database.rows(UNPUBLISHED), seconds=2 * LONGEST_SLEEP_SECONDS)


@pytest.mark.parametrize("column", REFUSED)
async def test_a_message_that_the_bus_refuses_holds_up_no_other(start_service, tenant, database, eventually, column):
    service = await start_service("gateway", gateway(None))
    refused = await spoilt(database, tenant, service, f"{column} = {REFUSED[column]}")
    for count in (1, 2, 3):
        await request_task(service.database, tenant)
        await eventually(lambda n=count: len(database.rows(PUBLISHED)) == n, seconds=SOON_SECONDS)
        await asyncio.sleep(0.5)
    assert database.rows(UNPUBLISHED) == [(refused,)]
    await database.change(f"DELETE FROM gateway.outbox WHERE id = '{refused}'")


async def test_more_refused_messages_than_a_batch_hold_up_no_other(start_service, tenant, database, eventually):
    service = await start_service("gateway", gateway(None))
    await eventually(lambda: service.relay.active)
    async with service.database.tenant_session(tenant.grant()) as session:
        session.wakes_relay = True
        await session.execute(
            "INSERT INTO outbox (task_id, type, subject, body, traceparent) SELECT gen_random_uuid(),"
            " 'morningai.api.events.v1.TaskRequested', 'morningai.event.x.task.invented', '', ''"
            f" FROM generate_series(1, {2 * BATCH + 10})"
        )
    await request_task(service.database, tenant)
    await eventually(lambda: database.rows(PUBLISHED), seconds=4 * PUBLISH_SECONDS)


async def test_a_message_that_the_bus_would_refuse_is_not_written(tenant, database):
    gateway_rows = Database(database.dsn("gateway_app"))
    await gateway_rows.open()
    too_large = events.TaskRequested(instruction="x" * (outbox.LARGEST_BODY_BYTES + 1))
    async with gateway_rows.tenant_session(tenant.grant()) as session:
        with pytest.raises(Permanent, match="bytes"):
            await outbox.emit(session, too_large, task_id=uuid4())
    await gateway_rows.close()
    assert database.rows("SELECT 1 FROM gateway.outbox") == []
