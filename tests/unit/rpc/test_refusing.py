from __future__ import annotations

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from morningai.api.sources.v1 import sources_pb2, sources_pb2_grpc
from morningai.api.tasks.v1 import tasks_pb2, tasks_pb2_grpc
from morningai.errors import RateLimited
from morningai.rpc.call import PROOF_KEY
from morningai.rpc.server import RpcServer, value_of
from morningai.rpc.status import limit_of, retry_seconds_of

SERVICES = ["morningai.api.tasks.v1.TaskService", "morningai.api.sources.v1.SourceService"]
NOISY = (("authorization", "Bearer noisy"),)
READING = ((PROOF_KEY, "k1|g|00000000-0000-0000-0000-000000000000|key:mk_1|tasks.read|0|mac"),)


def refuse_the_noisy(metadata, rule):
    if value_of(metadata, "authorization") == "Bearer noisy":
        raise RateLimited(f"{rule.call_class}_calls", "Too fast.", remedy="Wait.", retry_after_seconds=2)


class NoTasks(tasks_pb2_grpc.TaskServiceServicer):
    async def ListTasks(self, request, context):
        return tasks_pb2.ListTasksResponse()


@pytest.fixture
async def channel(tmp_path):
    server = RpcServer(f"unix:{tmp_path}/s.sock", SERVICES, refuse=refuse_the_noisy)
    tasks_pb2_grpc.add_TaskServiceServicer_to_server(NoTasks(), server.server)
    sources_pb2_grpc.add_SourceServiceServicer_to_server(sources_pb2_grpc.SourceServiceServicer(), server.server)
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s.sock") as channel:
        yield channel
    await server.stop(0)


async def list_tasks(channel, metadata):
    return await tasks_pb2_grpc.TaskServiceStub(channel).ListTasks(tasks_pb2.ListTasksRequest(), metadata=metadata)


async def watch(channel, metadata):
    stub = tasks_pb2_grpc.TaskServiceStub(channel)
    return [event async for event in stub.WatchTask(tasks_pb2.WatchTaskRequest(), metadata=metadata)]


async def upload(channel, metadata):
    stub = sources_pb2_grpc.SourceServiceStub(channel)
    await stub.UploadSource(iter([sources_pb2.UploadSourceRequest()]), metadata=metadata)


@pytest.mark.parametrize(
    ("call", "limit"), [(list_tasks, "read_calls"), (watch, "watch_calls"), (upload, "upload_calls")]
)
async def test_every_kind_of_call_is_refused_with_its_status_and_leaves_no_line_in_the_log(channel, call, limit):
    with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(channel, NOISY)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (limit_of(refused.value), retry_seconds_of(refused.value)) == (limit, 2.0)
    assert lines == []


async def test_the_others_get_through(channel):
    assert await list_tasks(channel, READING) == tasks_pb2.ListTasksResponse()


async def test_health_is_not_refused(channel):
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), metadata=NOISY)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
