"""A watch goes on at another gateway, from where it was, when the one it was at is killed: no gap and no repeat."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from uuid import UUID

import grpc
import pytest

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.bus import outbox
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
        started = [
            stack.enter_context(running_process("gateway", database, nats_url, folder, "https://127.0.0.1/keys", {}))
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
