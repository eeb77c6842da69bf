"""Asks a service for its grpc.health.v1 state, over a Unix socket or TCP."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

PROBE_TIMEOUT_SECONDS = 1.0


async def grpc_is_serving(address: str) -> bool:
    """A channel per probe, made only once somebody listens: gRPC waits a second before it connects again."""
    if not await _somebody_listens(address):
        return False
    try:
        async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            reply = await stub.Check(health_pb2.HealthCheckRequest(), timeout=PROBE_TIMEOUT_SECONDS)
    except grpc.RpcError:
        return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


async def _somebody_listens(address: str) -> bool:
    try:
        _, writer = await asyncio.wait_for(_connect(address), PROBE_TIMEOUT_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(Path(address.removeprefix("unix:")))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))
