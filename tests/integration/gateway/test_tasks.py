"""TaskService at the real gateway, with the real orchestrator, docs and tenancy behind it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.rpc.status import remedy_of
from tests.integration.gateway.platform import ANSWER, cancelled_task, field_of, first_events, new_task, upload
from tests.integration.orchestrator.queue import LIMIT


async def test_a_task_is_accepted_and_can_be_read(client):
    created = await client.tasks.CreateTask(new_task(" what is it? "))
    assert created.state == api.TASK_STATE_QUEUED
    assert (created.instruction, created.source, list(created.kinds)) == ("what is it?", "sources/small", ANSWER)
    found = await client.tasks.GetTask(api.GetTaskRequest(name=created.name))
    assert (found.name, found.trace_id, found.create_time) == (created.name, created.trace_id, created.create_time)


async def test_the_caller_s_trace_goes_on(client):
    trace_id = uuid4().hex
    task = await client.tasks.CreateTask(new_task(), metadata=(("traceparent", f"00-{trace_id}-{'1' * 16}-01"),))
    assert task.trace_id == trace_id
    events = await first_events(client, task, 2)
    assert {event.trace_id for event in events} == {trace_id}
    listed = await client.tasks.ListTaskEvents(api.ListTaskEventsRequest(trace_id=trace_id))
    assert list(listed.events)[:2] == events


async def test_the_same_request_gives_the_same_task(client, platform, acme):
    request = new_task()
    tasks = await asyncio.gather(*(client.tasks.CreateTask(request) for _ in range(5)))
    again = await client.tasks.CreateTask(request)
    assert {task.name for task in tasks} == {again.name}
    query = "SELECT count(*) FROM gateway.outbox WHERE tenant_id = %s AND type LIKE '%%TaskRequested'"
    assert platform.database.rows(query, acme.tenant_id) == [(1,)]


async def test_a_request_id_stands_for_one_request_alone(client):
    request_id = uuid4()
    await client.tasks.CreateTask(new_task(request_id=request_id))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.tasks.CreateTask(new_task("something else", request_id=request_id))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert field_of(refused.value) == "request_id"
    assert remedy_of(refused.value) == "Send a new UUID."


async def test_two_tenants_may_choose_the_same_request_id(client, connect, new_tenant, bundle):
    other = await connect(new_tenant().api_key)
    await upload(other, bundle)
    request = new_task()
    assert (await client.tasks.CreateTask(request)).name != (await other.tasks.CreateTask(request)).name


async def test_tasks_are_listed_newest_first_in_pages(client):
    created = [(await client.tasks.CreateTask(new_task())).name for _ in range(5)]
    first = await client.tasks.ListTasks(api.ListTasksRequest(page_size=2))
    second = await client.tasks.ListTasks(api.ListTasksRequest(page_size=2, page_token=first.next_page_token))
    third = await client.tasks.ListTasks(api.ListTasksRequest(page_size=2, page_token=second.next_page_token))
    assert [task.name for page in (first, second, third) for task in page.tasks] == created[::-1]
    assert third.next_page_token == ""
    assert len((await client.tasks.ListTasks(api.ListTasksRequest())).tasks) == 5


async def test_watching_gives_every_event_in_order_until_the_end(client):
    task = await cancelled_task(client)
    events = [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=task.name), timeout=60)]
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].task_state == api.TASK_STATE_RUNNING
    assert [(event.step.step, event.step.state) for event in events[1:5]] == [
        ("index", api.STEP_STATE_RUNNING),
        ("index", api.STEP_STATE_SUCCEEDED),
        ("answer", api.STEP_STATE_RUNNING),
        ("answer", api.STEP_STATE_CANCELLED),
    ]
    assert events[-1].task_state == api.TASK_STATE_CANCELLED


async def test_watching_goes_on_after_a_sequence_number(client):
    task = await cancelled_task(client)
    rest = [e async for e in client.tasks.WatchTask(api.WatchTaskRequest(name=task.name, after_sequence=4), timeout=60)]
    assert [event.sequence for event in rest] == [5, 6]


async def test_watching_after_the_last_event_ends_at_once(client):
    task = await cancelled_task(client)
    await first_events(client, task, 6)
    watching = client.tasks.WatchTask(api.WatchTaskRequest(name=task.name, after_sequence=6), timeout=60)
    assert [event async for event in watching] == []


async def test_watching_begins_before_the_events_come(client):
    task = await client.tasks.CreateTask(new_task())
    watching = asyncio.create_task(first_events(client, task, 6))
    await first_events(client, task, 4)
    await client.tasks.CancelTask(api.CancelTaskRequest(name=task.name))
    events = await asyncio.wait_for(watching, 10)
    assert events[-1].task_state == api.TASK_STATE_CANCELLED


async def test_the_read_task_shows_its_steps_and_its_end(client):
    task = await cancelled_task(client)
    await first_events(client, task, 6)
    found = await client.tasks.GetTask(api.GetTaskRequest(name=task.name))
    assert found.state == api.TASK_STATE_CANCELLED
    assert found.HasField("end_time")
    assert [(step.step, step.service) for step in found.steps] == [("index", "docs"), ("answer", "faqgen")]


async def test_a_task_that_has_ended_cannot_be_cancelled(client):
    task = await cancelled_task(client)
    with pytest.raises(grpc.aio.AioRpcError, match="has ended already") as refused:
        await client.tasks.CancelTask(api.CancelTaskRequest(name=task.name))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture
async def queued(client, platform, acme):
    """A task of a tenant that may run none."""
    await platform.database.change(LIMIT.format(acme.tenant_id, "concurrent_tasks", 0))
    return await client.tasks.CreateTask(new_task(priority=api.TASK_PRIORITY_LOW))


async def place_of(client, task):
    deadline = asyncio.get_running_loop().time() + 10
    while asyncio.get_running_loop().time() < deadline:
        found = await client.tasks.GetTask(api.GetTaskRequest(name=task.name))
        if found.HasField("queue_place"):
            return found.queue_place
    raise AssertionError("has no place")


async def test_a_queued_task_shows_its_place_and_leaves_an_unknown_start_out(client, queued):
    place = await place_of(client, queued)
    assert place.position == 1
    assert not place.HasField("estimated_start_time")
    assert (queued.state, queued.priority) == (api.TASK_STATE_QUEUED, api.TASK_PRIORITY_LOW)


async def test_a_task_of_a_higher_priority_goes_before_those_of_a_lower_one(client, queued):
    urgent = await client.tasks.CreateTask(new_task(priority=api.TASK_PRIORITY_HIGH))
    assert (await place_of(client, urgent)).position == 1
    assert (await place_of(client, queued)).position == 2


async def test_a_queued_task_can_be_cancelled(client, queued):
    await client.tasks.CancelTask(api.CancelTaskRequest(name=queued.name))
    assert (await first_events(client, queued, 1))[0].task_state == api.TASK_STATE_CANCELLED


async def test_a_task_says_when_it_expires_and_does(client):
    task = await client.tasks.CreateTask(new_task(ttl=timedelta(seconds=1)))
    assert task.expire_time.ToDatetime() - task.create_time.ToDatetime() == timedelta(seconds=1)
    events = [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=task.name), timeout=30)]
    assert (events[-1].type, events[-1].task_state) == ("task.expired", api.TASK_STATE_EXPIRED)
    found = await client.tasks.GetTask(api.GetTaskRequest(name=task.name))
    assert (found.state, found.failure.reason) == (api.TASK_STATE_EXPIRED, "task_expired")
    assert found.expire_time == task.expire_time
    assert found.end_time.ToDatetime() >= found.expire_time.ToDatetime()


async def test_a_task_without_a_time_to_live_never_expires(client):
    assert not (await client.tasks.CreateTask(new_task())).HasField("expire_time")


async def test_a_request_with_another_time_to_live_is_another_request(client):
    request_id = uuid4()
    request = new_task(request_id=request_id, ttl=timedelta(days=28))
    made = await client.tasks.CreateTask(request)
    assert (await client.tasks.CreateTask(request)).expire_time == made.expire_time
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.tasks.CreateTask(new_task(request_id=request_id, ttl=timedelta(days=27)))
    assert field_of(refused.value) == "request_id"


async def test_the_events_of_a_trace_are_in_order_even_if_they_came_out_of_it(client, platform, acme):
    task = await client.tasks.CreateTask(new_task())
    await first_events(client, task, 4)
    statement = "UPDATE gateway.task_events SET received_at = received_at - sequence * interval '1 minute'"
    await platform.database.change(f"{statement} WHERE tenant_id = '{acme.tenant_id}'")
    listed = await client.tasks.ListTaskEvents(api.ListTaskEventsRequest(trace_id=task.trace_id))
    assert [event.sequence for event in listed.events] == [1, 2, 3, 4]


async def watch(client, name):
    return [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=name), timeout=5)]


@pytest.mark.parametrize(
    "call",
    [
        lambda client, name: client.tasks.GetTask(api.GetTaskRequest(name=name)),
        lambda client, name: client.tasks.CancelTask(api.CancelTaskRequest(name=name)),
        lambda client, name: client.tasks.ListTaskEvents(api.ListTaskEventsRequest(name=name)),
        watch,
    ],
    ids=["get", "cancel", "events", "watch"],
)
async def test_another_tenant_s_task_does_not_exist(client, connect, new_tenant, call):
    task = await client.tasks.CreateTask(new_task())
    stranger = await connect(new_tenant().api_key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(stranger, task.name)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert field_of(refused.value) == "task"


async def test_another_tenant_s_tasks_are_neither_listed_nor_traced(client, connect, new_tenant):
    task = await client.tasks.CreateTask(new_task())
    await first_events(client, task, 1)
    stranger = await connect(new_tenant().api_key)
    assert list((await stranger.tasks.ListTasks(api.ListTasksRequest())).tasks) == []
    events = await stranger.tasks.ListTaskEvents(api.ListTaskEventsRequest(trace_id=task.trace_id))
    assert list(events.events) == []
