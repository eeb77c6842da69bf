"""A watch goes on at another gateway, from where it was, when the one it was at is killed: no gap and no repeat."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from uuid import UUID

import grpc
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.subscriptions.v1 import subscriptions_pb2 as subscriptions
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
from morningai.secrets.key_ring import make_key
from tests.conftest import make_consumers
from tests.integration.bus.test_settle import orchestrator
from tests.integration.gateway.door import insert_task
from tests.integration.gateway.platform import bearer, connected, running_process, wait_until_healthy

LAST = 80
KILLED_AFTER = 25
BETWEEN_SECONDS = 0.01


@pytest.fixture
async def emitter(start_service):
    """The orchestrator's side of the bus; what a killed gateway held is delivered again after a second."""
    service = await start_service("orchestrator", orchestrator(), ack_wait_seconds=1)
    await make_consumers("gateway", service.settings)
    return service


@pytest.fixture
def gateways(emitter, database, nats_url, tmp_path):
    """Two processes behind the same bus and database."""
    with ExitStack() as stack:
        folders = [tmp_path / name for name in "ab"]
        for folder in folders:
            folder.mkdir()
        own = {"SECRET_KEYS": make_key("k1")}
        started = [
            stack.enter_context(running_process("gateway", database, nats_url, folder, "https://127.0.0.1/keys", own))
            for folder in folders
        ]
        for folder, process in zip(folders, started, strict=True):
            wait_until_healthy(process, f"unix:{folder}/gateway.sock", folder / "gateway.log")
        yield list(zip(started, (f"unix:{folder}/gateway.sock" for folder in folders), strict=True))


def event_of(task, sequence):
    state = api.TASK_STATE_RUNNING if sequence < LAST else api.TASK_STATE_SUCCEEDED
    event = api.TaskEvent(task=task, sequence=sequence, type="step.started", task_state=state)
    return events.TaskStepChanged(event=event) if sequence < LAST else events.TaskSucceeded(event=event)


async def emit_all(emitter, tenant, task):
    for sequence in range(1, LAST + 1):
        async with emitter.database.tenant_session(tenant.grant()) as session:
            await outbox.emit(session, event_of(task, sequence), task_id=UUID(task.removeprefix("tasks/")))
        await asyncio.sleep(BETWEEN_SECONDS)


async def watched(address, tenant, task, *, after, on_event=lambda sequence: None):
    """The sequence numbers that came, until the task's end or that of the gateway."""
    found = []
    async with connected(address, bearer(tenant.api_key)) as client:
        request = api.WatchTaskRequest(name=task, after_sequence=after)
        try:
            async for event in client.tasks.WatchTask(request, timeout=30):
                found.append(event.sequence)
                on_event(event.sequence)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
    return found


async def test_a_watch_goes_on_at_the_other_gateway_when_its_own_is_killed(emitter, gateways, tenant):
    (dying, first), (_, second) = gateways
    task = insert_task(tenant)
    tenant.open_task(UUID(task.removeprefix("tasks/")))
    emitting = asyncio.create_task(emit_all(emitter, tenant, task))
    before = await watched(
        first, tenant, task, after=0, on_event=lambda sequence: sequence == KILLED_AFTER and dying.kill()
    )
    assert KILLED_AFTER <= len(before) < LAST
    after = await watched(second, tenant, task, after=before[-1])
    await emitting
    assert before + after == list(range(1, LAST + 1))
    assert await watched(second, tenant, task, after=0) == before + after


async def events_after(address, tenant, token, *, count, on_event=lambda number: None):
    """The next events of the tenant, up to so many or to the end of the gateway: (id, token) of each."""
    found = []
    async with connected(address, bearer(tenant.api_key)) as client:
        request = subscriptions.WatchEventsRequest(after_token=token, from_oldest=not token)
        watching = client.subscriptions.WatchEvents(request, timeout=30)
        try:
            async for response in watching:
                if response.HasField("event"):
                    found.append((response.event.id, response.token))
                    on_event(len(found))
                if len(found) == count:
                    break
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        watching.cancel()
    return found


async def test_the_events_of_a_tenant_go_on_at_the_other_gateway_from_every_token(emitter, gateways, tenant, database):
    (dying, first), (_, second) = gateways
    names = [insert_task(tenant) for _ in range(3)]
    for name in names:
        tenant.open_task(UUID(name.removeprefix("tasks/")))
    everything = len(names) * LAST
    emitting = asyncio.gather(*(emit_all(emitter, tenant, name) for name in names))
    before = await events_after(
        first, tenant, "", count=everything, on_event=lambda number: number == KILLED_AFTER and dying.kill()
    )
    assert KILLED_AFTER <= len(before) < everything
    after = await events_after(second, tenant, before[-1][1], count=everything - len(before))
    await emitting
    whole = before + after
    published = {str(one) for (one,) in database.rows("SELECT id FROM orchestrator.outbox")}
    assert {event_id for event_id, _ in whole} == published
    assert len(whole) == everything
    for number in range(0, everything, 7):
        assert (
            await events_after(second, tenant, whole[number][1], count=everything - number - 1) == whole[number + 1 :]
        )
