"""The proxy passes on what it is given until it is told to be a bad line."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import Proxy

HOST = "127.0.0.1"
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(1000):
        writer.write(piece)
    writer.close()


@asynccontextmanager
async def a_line() -> AsyncIterator[tuple[Proxy, Line]]:
    server = await asyncio.start_server(echo, HOST, 0)
    proxy = Proxy(lambda: (HOST, server.sockets[0].getsockname()[1]))
    reader, writer = await asyncio.open_connection(HOST, await proxy.listen((HOST, 0)))
    try:
        yield proxy, (reader, writer)
    finally:
        writer.close()
        await proxy.close()
        server.close()


async def said_back(line: Line) -> bytes:
    reader, writer = line
    writer.write(b"ping")
    return await reader.readexactly(4)


async def test_bytes_are_passed_on_both_ways():
    async with a_line() as (_, line):
        assert await said_back(line) == b"ping"


async def test_a_dropped_connection_breaks():
    async with a_line() as (proxy, line):
        await said_back(line)
        assert await proxy.drop(1.0, random.Random(1)) == 1
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await said_back(line)


async def test_a_share_of_none_drops_none():
    async with a_line() as (proxy, line):
        await said_back(line)
        assert await proxy.drop(0.0, random.Random(1)) == 0
        assert await said_back(line) == b"ping"


async def test_a_slow_line_is_slow_both_ways():
    async with a_line() as (proxy, line):
        await said_back(line)
        await proxy.delay(0.05)
        began = time.monotonic()
        assert await said_back(line) == b"ping"
        assert time.monotonic() - began >= 0.1


async def test_a_target_that_is_away_ends_the_connection():
    proxy = Proxy(lambda: (HOST, 1))
    reader, writer = await asyncio.open_connection(HOST, await proxy.listen((HOST, 0)))
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    writer.close()
    await proxy.close()
