"""Reflection at the public door: off, and when it is on, of public methods alone."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from tests.integration.gateway.door import open_door
from tests.isolation.rpcs import INTERNAL, PUBLIC

SEARCH = "morningai.api.search.v1.SearchService"
Asked = reflection_pb2.ServerReflectionRequest


async def ask(address: str, *questions: Asked) -> list[reflection_pb2.ServerReflectionResponse]:
    async with grpc.aio.insecure_channel(address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        return [answer async for answer in stub.ServerReflectionInfo(iter(questions), timeout=10)]


def methods_of(answer: reflection_pb2.ServerReflectionResponse) -> set[str]:
    files = map(FileDescriptorProto.FromString, answer.file_descriptor_response.file_descriptor_proto)
    return {
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
    }


async def test_reflection_is_off(database, tmp_path):
    async with open_door(database, tmp_path) as address:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask(address, Asked(list_services=""))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_it_shows_the_public_methods_and_no_other(database, tmp_path):
    async with open_door(database, tmp_path, reflection=True) as address:
        (listed,) = await ask(address, Asked(list_services=""))
        names = [service.name for service in listed.list_services_response.service]
        answers = await ask(address, *(Asked(file_containing_symbol=name) for name in names))
    shown = set().union(*map(methods_of, answers))
    assert {path for path in PUBLIC if path in shown} == set(PUBLIC)
    assert not shown & set(INTERNAL)
    assert SEARCH not in names


async def test_it_does_not_know_an_internal_service(database, tmp_path):
    async with open_door(database, tmp_path, reflection=True) as address:
        (answer,) = await ask(address, Asked(file_containing_symbol=SEARCH))
    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_it_opens_nothing_else(database, tmp_path):
    async with open_door(database, tmp_path, reflection=True) as address, grpc.aio.insecure_channel(address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await tasks_pb2_grpc.TaskServiceStub(channel).ListTasks(api.ListTasksRequest(), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
