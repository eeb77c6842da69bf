from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from morningai.api.search.v1 import search_pb2
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.errors import NotFound
from morningai.rpc.call import PROOF_KEY, UndeclaredScope
from morningai.rpc.server import RpcServer

TASKS = "morningai.api.tasks.v1.TaskService"
SEARCH = search_pb2.DESCRIPTOR.services_by_name["SearchService"].full_name
Register = Callable[[grpc.aio.Server], None]


class Tasks(tasks_pb2_grpc.TaskServiceServicer):
    async def GetTask(self, request: api.GetTaskRequest, context: object) -> api.Task:
        return api.Task(name=request.name)


def add_tasks(server: grpc.aio.Server) -> None:
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(Tasks(), server)


async def answer(_: object, __: object) -> bytes:
    return b""


def add_unruled(server: grpc.aio.Server) -> None:
    """As a forwarder or an older generated module would: without telling the server which methods there are."""
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("unruled.Service", {"Do": handler}),))


@asynccontextmanager
async def channel_to(
    folder: Path, *register: Register, services: tuple[str, ...] = (TASKS,), public: bool = False
) -> AsyncIterator[grpc.aio.Channel]:
    address = f"unix:{folder}/s.sock"
    server = RpcServer(address, services, public=public)
    for add in register:
        add(server.server)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield channel
    await server.stop(0)


def claiming(scope: str) -> str:
    """What a grant looks like before PostgreSQL verifies it."""
    return f"k1|g|00000000-0000-0000-0000-000000000000|key:mk_1|{scope}|0|mac"


async def code_of(channel: grpc.aio.Channel, method: str, proof: str = "") -> grpc.StatusCode:
    metadata = ((PROOF_KEY, proof),)
    try:
        await channel.unary_unary(method)(b"", timeout=5, metadata=metadata)  # type: ignore[call-arg]  # as bytes
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_server_is_not_made_with_methods_that_it_has_no_rules_for() -> None:
    server = RpcServer("unix:/nowhere", [SEARCH])
    with pytest.raises(UndeclaredScope, match=r"TaskService/CreateTask has no rule here"):
        add_tasks(server.server)


async def test_a_method_without_a_rule_is_not_served(tmp_path: Path) -> None:
    async with channel_to(tmp_path, add_tasks, add_unruled) as channel:
        assert await code_of(channel, f"/{TASKS}/GetTask", claiming("tasks.read")) is grpc.StatusCode.OK
        assert await code_of(channel, "/unruled.Service/Do", claiming("tasks.read")) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("proof", "code"),
    [
        ("", grpc.StatusCode.UNAUTHENTICATED),
        ("garbage", grpc.StatusCode.PERMISSION_DENIED),
        (claiming("tasks.write,sources.read"), grpc.StatusCode.PERMISSION_DENIED),
        (claiming("sources.read,tasks.read"), grpc.StatusCode.OK),
    ],
)
async def test_a_proof_that_does_not_claim_the_scope_is_refused_before_the_method(
    tmp_path: Path, proof: str, code: grpc.StatusCode
) -> None:
    async with channel_to(tmp_path, add_tasks) as channel:
        assert await code_of(channel, f"/{TASKS}/GetTask", proof) is code


async def test_health_alone_needs_no_rule(tmp_path: Path) -> None:
    async with channel_to(tmp_path, services=()) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("public", [True, False])
async def test_an_internal_method_is_unknown_at_the_public_door(tmp_path: Path, public: bool) -> None:
    def add(server: grpc.aio.Server) -> None:
        handler = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SEARCH, {"Search": handler}),))

    async with channel_to(tmp_path, add, services=(SEARCH,), public=public) as channel:
        code = await code_of(channel, f"/{SEARCH}/Search", claiming("sources.read"))
    assert code is (grpc.StatusCode.UNIMPLEMENTED if public else grpc.StatusCode.OK)


async def test_a_method_that_its_servicer_does_not_have_is_not_implemented(tmp_path: Path) -> None:
    async with channel_to(tmp_path, add_tasks) as channel:
        code = await code_of(channel, f"/{TASKS}/ListTasks", claiming("tasks.read"))
    assert code is grpc.StatusCode.UNIMPLEMENTED


async def test_a_caller_who_hangs_up_while_being_refused_is_no_crash(tmp_path: Path, caplog) -> None:
    class Late(tasks_pb2_grpc.TaskServiceServicer):
        async def WatchTask(self, request: api.WatchTaskRequest, context: object) -> AsyncIterator[api.TaskEvent]:
            await asyncio.sleep(0.05 + random.uniform(-0.002, 0.002))
            raise NotFound("task", request.name)
            yield

    def add(server: grpc.aio.Server) -> None:
        tasks_pb2_grpc.add_TaskServiceServicer_to_server(Late(), server)

    async def watch(channel: grpc.aio.Channel) -> grpc.StatusCode:
        seconds = 0.05 + random.uniform(-0.001, 0.003)
        request, metadata = api.WatchTaskRequest(name="tasks/1"), ((PROOF_KEY, claiming("tasks.read")),)
        watching = tasks_pb2_grpc.TaskServiceStub(channel).WatchTask(request, timeout=seconds, metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await watching.read()
        return ended.value.code()

    with capture_logs() as lines:
        async with channel_to(tmp_path, add) as channel:
            # The moment between hanging up and being refused is short; some of these meet it.
            for _ in range(30):
                codes = await asyncio.gather(*(watch(channel) for _ in range(10)))
                assert set(codes) <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.NOT_FOUND}
    assert [line for line in lines if line["log_level"] == "error"] == []
    assert [record for record in caplog.records if record.name.startswith("grpc")] == []
