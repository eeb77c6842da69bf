from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest_asyncio
from grpc_health.v1 import health_pb2

from morningai.rpc.probe import is_serving
from morningai.rpc.server import RpcServer


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest_asyncio.fixture
async def server() -> AsyncIterator[tuple[RpcServer, str]]:
    address = free_address()
    server = RpcServer(address, [])
    await server.start()
    yield server, address
    await server.stop(0)


async def test_a_started_service_is_serving(server: tuple[RpcServer, str]) -> None:
    assert await asyncio.to_thread(is_serving, server[1])


async def test_a_service_that_says_otherwise_is_not(server: tuple[RpcServer, str]) -> None:
    await server[0].health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    assert not await asyncio.to_thread(is_serving, server[1])


async def test_where_nobody_listens_nothing_is_serving() -> None:
    assert not await asyncio.to_thread(is_serving, free_address())


async def test_something_else_than_grpc_is_not_serving() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        assert not await asyncio.to_thread(is_serving, f"127.0.0.1:{port}")
