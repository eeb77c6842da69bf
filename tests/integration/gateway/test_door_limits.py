"""Each limit of the public door, exceeded."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, contextmanager

import grpc
import psycopg
import pytest

from morningai.api.subscriptions.v1 import subscriptions_pb2 as subscriptions
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.rpc.status import reason_of, remedy_of
from tests.integration.gateway.door import insert_task, open_door
from tests.integration.gateway.http2 import raw_connection
from tests.integration.gateway.platform import Client, bearer, connected

WATCH = "/morningai.api.tasks.v1.TaskService/WatchTask"
ENHANCE_YOUR_CALM = 11
LARGE = 100_000


@pytest.fixture
async def knock(database, tenant, tmp_path):
    """`await knock(streams_per_connection=2)`: the address of such a door, and a client of the tenant."""
    async with AsyncExitStack() as stack:

        async def knock(**settings: object) -> tuple[str, Client]:
            address = await stack.enter_async_context(open_door(database, tmp_path, **settings))
            return address, await stack.enter_async_context(connected(address, bearer(tenant.api_key)))

        yield knock


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await asyncio.wait_for(call, 10)
    return refused.value


def watch(client: Client, name: str):
    return client.tasks.WatchTask(api.WatchTaskRequest(name=name))


async def is_open(stream) -> bool:
    """A watch of a task without events says nothing for as long as it lasts."""
    done, _ = await asyncio.wait({asyncio.ensure_future(stream.read())}, timeout=0.5)
    return not done


async def test_a_request_that_is_too_large_is_refused(knock):
    _, client = await knock(largest_request_bytes=LARGE)
    error = await refusal(client.tasks.GetTask(api.GetTaskRequest(name="x" * (LARGE + 1))))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_response_that_is_too_large_is_refused(knock, tenant):
    _, client = await knock(largest_response_bytes=LARGE)
    name = insert_task(tenant, instruction="x" * (LARGE + 1))
    error = await refusal(client.tasks.GetTask(api.GetTaskRequest(name=name)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await client.tasks.GetTask(api.GetTaskRequest(name=insert_task(tenant)))).name


@pytest.mark.parametrize("size", [9_000, 50_000])
async def test_metadata_that_is_too_large_is_refused(knock, size):
    _, client = await knock(largest_metadata_bytes=8192)
    error = await refusal(client.tasks.ListTasks(api.ListTasksRequest(), metadata=(("x-more", "x" * size),)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_within_the_limit_passes(knock):
    _, client = await knock(largest_metadata_bytes=16384)
    await client.tasks.ListTasks(api.ListTasksRequest(), metadata=(("x-more", "x" * 12_000),))


async def test_more_streams_than_a_connection_may_have_are_refused(knock, tenant, eventually):
    address, _ = await knock(streams_per_connection=2)
    request = api.WatchTaskRequest(name=insert_task(tenant)).SerializeToString()
    async with raw_connection(address) as connection:
        for stream in (1, 3, 5):
            connection.call(stream, WATCH, {"authorization": f"Bearer {tenant.api_key}"}, request)
        await eventually(lambda: 5 in connection.reset_streams or connection.farewells)


async def test_a_client_keeps_its_calls_back_until_a_stream_is_free(knock, tenant):
    _, client = await knock(streams_per_connection=2)
    name = insert_task(tenant)
    watches = [watch(client, name) for _ in range(2)]
    assert [await is_open(stream) for stream in watches] == [True, True]
    waiting = asyncio.ensure_future(list_tasks(client, 10.0))
    assert not (await asyncio.wait({waiting}, timeout=0.5))[0]
    watches[0].cancel()
    assert (await asyncio.wait_for(waiting, 5)).tasks
    watches[1].cancel()


async def test_more_calls_than_the_process_takes_are_refused(knock, tenant):
    _, client = await knock(concurrent_calls=2)
    name = insert_task(tenant)
    watches = [watch(client, name) for _ in range(2)]
    assert [await is_open(stream) for stream in watches] == [True, True]
    error = await refusal(client.tasks.ListTasks(api.ListTasksRequest()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_tenant_has_so_many_watches_at_a_time_and_others_have_theirs(knock, tenant, database):
    address, client = await knock(watches_per_tenant=2)
    name = insert_task(tenant)
    watches = [watch(client, name) for _ in range(2)]
    assert [await is_open(stream) for stream in watches] == [True, True]
    error = await refusal(watch(client, name).read())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (reason_of(error), remedy_of(error)) == ("RATE_LIMITED", "End one of the watches first.")
    assert (await client.tasks.ListTasks(api.ListTasksRequest())).tasks
    other = database.create_tenant("other")
    async with connected(address, bearer(other.api_key)) as beside:
        assert await is_open(watch(beside, insert_task(other)))


async def test_watches_of_the_tenant_s_events_count_too(knock, tenant):
    _, client = await knock(watches_per_tenant=2)
    request = subscriptions.WatchEventsRequest()
    watches = [client.subscriptions.WatchEvents(request, timeout=30) for _ in range(2)]
    assert [bool((await stream.read()).token) for stream in watches] == [True, True]
    error = await refusal(client.subscriptions.WatchEvents(request, timeout=30).read())
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")


async def test_a_watch_that_ended_makes_room(knock, tenant, eventually):
    _, client = await knock(watches_per_tenant=1)
    name = insert_task(tenant)
    for _ in range(3):
        stream = watch(client, name)
        assert await is_open(stream)
        stream.cancel()
        await asyncio.sleep(0.2)


async def test_a_tenant_has_so_many_calls_at_a_time(knock, tenant, database):
    _, client = await knock(calls_per_tenant=2)
    with database_lock(database):
        held = [asyncio.ensure_future(refusal(list_tasks(client, 3.0))) for _ in range(2)]
        await asyncio.sleep(0.5)
        error = await refusal(list_tasks(client, 3.0))
        assert (error.code(), remedy_of(error)) == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "End one of the calls first.",
        )
        assert {ended.code() for ended in await asyncio.gather(*held)} == {grpc.StatusCode.DEADLINE_EXCEEDED}


@contextmanager
def database_lock(database):
    """No query on tasks gets an answer."""
    with psycopg.connect(database.admin_dsn) as connection:
        connection.execute("LOCK TABLE gateway.tasks IN ACCESS EXCLUSIVE MODE")
        yield


async def list_tasks(client: Client, seconds: float) -> api.ListTasksResponse:
    return await client.tasks.ListTasks(api.ListTasksRequest(), timeout=seconds)


async def test_a_client_that_pings_too_fast_is_hung_up_on(knock, eventually):
    address, _ = await knock(shortest_ping_seconds=10)
    async with raw_connection(address) as connection:
        # Twenty a second, and none after the farewell: a failed write would hide it.
        await eventually(lambda: connection.farewells or connection.ping())
        await eventually(lambda: connection.closed)
        assert [(frame.error_code, frame.additional_data) for frame in connection.farewells][-1] == (
            ENHANCE_YOUR_CALM,
            b"too_many_pings",
        )


async def test_a_client_that_pings_slowly_enough_stays(knock):
    address, _ = await knock(shortest_ping_seconds=0.05)
    async with raw_connection(address) as connection:
        for _ in range(10):
            connection.ping()
            await asyncio.sleep(0.1)
        assert (connection.closed, connection.farewells) == (False, [])


async def test_a_connection_that_is_too_old_is_sent_away_and_its_calls_may_end(knock, tenant, eventually):
    address, _ = await knock(connection_age_seconds=0.5, grace_seconds=1.0)
    request = api.WatchTaskRequest(name=insert_task(tenant)).SerializeToString()
    async with raw_connection(address) as connection:
        connection.call(1, WATCH, {"authorization": f"Bearer {tenant.api_key}"}, request)
        await eventually(lambda: connection.farewells, seconds=3)
        assert not connection.closed
        await eventually(lambda: connection.closed, seconds=4)


async def test_an_idle_connection_is_closed(knock, eventually):
    address, _ = await knock(connection_idle_seconds=0.5)
    async with raw_connection(address) as connection:
        await eventually(lambda: connection.closed, seconds=5)
        assert connection.farewells


async def test_a_client_that_is_gone_is_noticed(knock, eventually):
    address, _ = await knock(keepalive_seconds=1.0)
    async with raw_connection(address) as connection:
        await eventually(lambda: connection.pings, seconds=5)
