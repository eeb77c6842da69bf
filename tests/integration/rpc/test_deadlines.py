"""A call that is over, by its deadline or by its caller, leaves nothing running: no SQL, nothing upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import grpc
import psycopg
import pytest
import pytest_asyncio

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.db.session import Database
from morningai.deadline import begin_deadline
from morningai.errors import DeadlineExceeded
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.channel import make_channel
from morningai.rpc.listening import Deadlines, Listening
from morningai.rpc.server import Prove, RpcServer
from morningai.rpc.status import reason_of, remedy_of
from services.gateway.forwarder import Forwarder
from tests.integration.gateway.door import insert_task, open_door
from tests.integration.gateway.platform import Client, bearer, connected

TASKS = "morningai.api.tasks.v1.TaskService"
SLEEPING = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND state = 'active' AND query LIKE '%%pg_sleep(60)'"
)
LONGEST = "SELECT setting AS longest FROM pg_settings WHERE name = 'statement_timeout'"  # in milliseconds
ANYTHING = api.GetTaskRequest(name="tasks/1")


class Tasks(tasks_pb2_grpc.TaskServiceServicer):
    """GetTask and WatchTask wait for PostgreSQL, ListTasks tells how long SQL may take."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.closed = 0

    async def GetTask(self, request: api.GetTaskRequest, context: Context) -> api.Task:
        async with rpc_session(self.database) as session:
            await session.row("SELECT pg_sleep(60)")
        return api.Task(name=request.name)

    async def WatchTask(self, request: api.WatchTaskRequest, context: Context) -> AsyncIterator[api.TaskEvent]:
        try:
            yield api.TaskEvent(sequence=1)
            async with rpc_session(self.database) as session:
                await session.row("SELECT pg_sleep(60)")
        finally:
            self.closed += 1

    async def CancelTask(self, request: api.CancelTaskRequest, context: Context) -> api.CancelTaskResponse:
        async with rpc_session(self.database) as session:
            await session.row("SELECT pg_sleep(60)")
        return api.CancelTaskResponse()

    async def ListTasks(self, request: api.ListTasksRequest, context: Context) -> api.ListTasksResponse:
        async with rpc_session(self.database) as session:
            row = await session.row(LONGEST)
        return api.ListTasksResponse(next_page_token=row["longest"])


@asynccontextmanager
async def serving(
    address: str, prove: Prove, deadlines: Deadlines, add: Callable[[RpcServer], None]
) -> AsyncIterator[tasks_pb2_grpc.TaskServiceStub]:
    server = RpcServer(address, [TASKS], prove=prove, listening=Listening(deadlines=deadlines))
    add(server)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield tasks_pb2_grpc.TaskServiceStub(channel)
    await server.stop(0)


@pytest_asyncio.fixture
async def servicer(database) -> AsyncIterator[Tasks]:
    opened = Database(database.dsn("gateway_app"), max_connections=2)
    await opened.open()
    yield Tasks(opened)
    await opened.close()


@pytest.fixture
async def start(servicer, tenant, tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """`await start(Deadlines(…))`: a stub; `forwarded=True` for one before which another server forwards."""
    grant = tenant.grant()

    async def prove(_: Context) -> str:
        return grant

    async with AsyncExitStack() as stack:

        async def start(deadlines: Deadlines | None = None, *, forwarded: bool = False):
            limits = deadlines or Deadlines()
            inside = f"unix:{tmp_path}/inside.sock"
            add = partial(_add_servicer, servicer)
            stub = await stack.enter_async_context(serving(inside, prove, Deadlines() if forwarded else limits, add))
            if not forwarded:
                return stub
            channel = await stack.enter_async_context(make_channel(inside))
            routes = {TASKS: channel}
            outside = f"unix:{tmp_path}/outside.sock"
            return await stack.enter_async_context(serving(outside, prove, limits, partial(_add_forwarder, routes)))

        yield start


def _add_servicer(servicer: Tasks, server: RpcServer) -> None:
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(servicer, server.server)


def _add_forwarder(routes: dict[str, grpc.aio.Channel], server: RpcServer) -> None:
    server.server.add_generic_rpc_handlers((Forwarder(routes),))


def sleeping(database) -> bool:
    return database.rows(SLEEPING, database.name)[0][0] > 0


@pytest.mark.parametrize("forwarded", [False, True], ids=["served", "forwarded"])
async def test_sql_ends_at_the_caller_s_deadline(start, database, eventually, forwarded):
    stub = await start(forwarded=forwarded)
    call = stub.GetTask(ANYTHING, timeout=1)
    await eventually(lambda: sleeping(database))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await call
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: not sleeping(database), seconds=2)


@pytest.mark.parametrize("forwarded", [False, True], ids=["served", "forwarded"])
@pytest.mark.parametrize("seconds", [None, 600], ids=["none", "longer than the longest"])
async def test_a_call_with_no_or_too_long_a_deadline_ends_at_the_server_s(
    start, database, eventually, seconds, forwarded
):
    stub = await start(Deadlines(default_seconds=1, longest_seconds=1.5), forwarded=forwarded)
    call = stub.GetTask(ANYTHING, timeout=seconds)
    await eventually(lambda: sleeping(database))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await asyncio.wait_for(call, 5)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: not sleeping(database), seconds=2)


async def test_a_call_that_ends_at_the_server_s_deadline_is_told_what_to_do(start):
    stub = await start(Deadlines(default_seconds=0.3))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stub.GetTask(ANYTHING)
    assert (reason_of(ended.value), remedy_of(ended.value)) == ("DEADLINE_EXCEEDED", "Allow it more time.")


@pytest.mark.parametrize("forwarded", [False, True], ids=["served", "forwarded"])
async def test_sql_ends_when_the_caller_cancels(start, database, eventually, forwarded):
    stub = await start(forwarded=forwarded)
    call = stub.GetTask(ANYTHING)
    await eventually(lambda: sleeping(database))
    call.cancel()
    await eventually(lambda: not sleeping(database), seconds=2)


@pytest.mark.parametrize("forwarded", [False, True], ids=["served", "forwarded"])
async def test_a_stream_and_its_sql_end_when_the_caller_cancels(start, servicer, database, eventually, forwarded):
    stub = await start(forwarded=forwarded)
    stream = stub.WatchTask(api.WatchTaskRequest(name="tasks/1"))
    await stream.read()
    await eventually(lambda: sleeping(database))
    stream.cancel()
    await eventually(lambda: not sleeping(database) and servicer.closed == 1, seconds=2)


async def test_a_stream_without_a_deadline_ends_at_the_longest(start, database, servicer, eventually):
    stub = await start(Deadlines(default_seconds=0.1, longest_seconds=1.0))
    began = asyncio.get_running_loop().time()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        [event async for event in stub.WatchTask(api.WatchTaskRequest(name="tasks/1"))]
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert asyncio.get_running_loop().time() - began > 0.9
    await eventually(lambda: not sleeping(database) and servicer.closed == 1, seconds=2)


async def test_a_call_goes_on_after_one_whose_sql_was_cancelled(start, database):
    stub = await start()
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.GetTask(ANYTHING, timeout=0.3)
    assert (await stub.ListTasks(api.ListTasksRequest(), timeout=5)).next_page_token


@pytest.mark.parametrize("forwarded", [False, True], ids=["served", "forwarded"])
async def test_sql_may_take_what_is_left_of_the_deadline(start, forwarded):
    stub = await start(forwarded=forwarded)
    longest = (await stub.ListTasks(api.ListTasksRequest(), timeout=7)).next_page_token
    assert 5_000 < int(longest) <= 7_100


@asynccontextmanager
async def gateway_before(servicer: Tasks, tenant, folder: Path) -> AsyncIterator[Client]:
    """The gateway's own door, with the servicer in place of the orchestrator."""
    inside = f"unix:{folder}/orchestrator.sock"
    server = RpcServer(inside, [TASKS])
    _add_servicer(servicer, server)
    await server.start()
    async with (
        open_door(tenant.database, folder, orchestrator_address=inside) as address,
        connected(address, bearer(tenant.api_key)) as client,
    ):
        yield client
    await server.stop(0)


async def test_the_gateway_s_own_calls_upstream_end_with_the_caller_s(servicer, tenant, tmp_path, database, eventually):
    async with gateway_before(servicer, tenant, tmp_path) as client:
        request = api.CancelTaskRequest(name=insert_task(tenant))
        hung_up = client.tasks.CancelTask(request)
        await eventually(lambda: sleeping(database))
        hung_up.cancel()
        await eventually(lambda: not sleeping(database), seconds=2)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await client.tasks.CancelTask(request, timeout=0.5)
        assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await eventually(lambda: not sleeping(database), seconds=2)


async def test_a_query_that_waits_for_a_lock_ends_with_its_call(tenant, tmp_path, database, eventually):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock'"
    async with (
        open_door(tenant.database, tmp_path) as address,
        connected(address, bearer(tenant.api_key)) as client,
    ):
        with psycopg.connect(database.admin_dsn) as connection:
            connection.execute("LOCK TABLE gateway.tasks IN ACCESS EXCLUSIVE MODE")
            call = client.tasks.ListTasks(api.ListTasksRequest(), timeout=1)
            await eventually(lambda: database.rows(waiting, database.name)[0][0] > 0)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await call
            assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await eventually(lambda: database.rows(waiting, database.name)[0][0] == 0, seconds=2)


async def within(seconds: float, doing):
    """In a task of its own, whose deadline is that of a call, and which nothing else cancels."""

    async def call():
        begin_deadline(seconds)
        await doing

    await asyncio.create_task(call())


async def sleep_in_sql(servicer: Tasks, proof: str) -> None:
    async with servicer.database.tenant_session(proof) as session:
        await session.row("SELECT pg_sleep(60)")


async def test_postgresql_itself_ends_a_statement_at_the_deadline(servicer, tenant):
    with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
        await asyncio.wait_for(within(0.3, sleep_in_sql(servicer, tenant.grant())), 5)


async def test_no_session_opens_once_the_time_is_up(servicer, tenant):
    with pytest.raises(DeadlineExceeded):
        await within(0.0, sleep_in_sql(servicer, tenant.grant()))


async def test_a_deadline_ends_with_its_session(servicer, tenant):
    with pytest.raises(psycopg.errors.QueryCanceled):
        await within(0.2, sleep_in_sql(servicer, tenant.grant()))
    async with servicer.database.tenant_session(tenant.grant()) as session:
        row = await session.row(LONGEST)
    assert row["longest"] == "0"


async def test_a_wait_for_a_connection_ends_at_the_deadline(start, servicer, tenant):
    stub = await start(Deadlines(default_seconds=0.5))
    held = [asyncio.create_task(sleep_in_sql(servicer, tenant.grant())) for _ in range(2)]
    await asyncio.sleep(0.2)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stub.ListTasks(api.ListTasksRequest())
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
