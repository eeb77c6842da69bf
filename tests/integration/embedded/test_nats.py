from __future__ import annotations

import contextlib
import json
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import psutil
import pytest
from nats.aio.client import Client
from nats.errors import Error as NatsError

from morningai.embedded.nats import EmbeddedNats
from morningai.embedded.postgres import wait_until_ready

AUTHORIZATION = "authorization " + json.dumps(
    {
        "users": [
            {"user": "docs", "password": "right", "permissions": {"publish": ["$JS.API.>"], "subscribe": ["_INBOX.>"]}}
        ]
    }
)


@contextlib.asynccontextmanager
async def running(folder: Path, port: int | None = None) -> AsyncIterator[EmbeddedNats]:
    server = EmbeddedNats(folder, port, AUTHORIZATION)
    await server.start()
    try:
        await wait_until_ready(server)
        yield server
    finally:
        await server.stop()


async def test_a_user_of_the_authorization_block_gets_in_and_has_jetstream(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await nats.connect(server.url, user="docs", password="right")
        assert (await client.jetstream().account_info()).streams == 0
        await client.close()


async def test_a_wrong_password_does_not(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = Client()
        with pytest.raises(NatsError):
            await client.connect(server.url, user="docs", password="wrong", allow_reconnect=False)
        await client.close()


async def test_a_stream_is_there_after_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        client = await nats.connect(server.url, user="docs", password="right")
        await client.jetstream().add_stream(name="EVENTS", subjects=["morningai.event.>"])
        await client.close()
    async with running(tmp_path) as server:
        client = await nats.connect(server.url, user="docs", password="right")
        assert (await client.jetstream().stream_info("EVENTS")).config.name == "EVENTS"
        await client.close()


async def test_it_listens_on_loopback_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        record = json.loads((tmp_path / "nats.child.json").read_text())
        sockets = psutil.Process(record["pid"]).net_connections("inet")
        assert {c.laddr for c in sockets if c.status == psutil.CONN_LISTEN} == {("127.0.0.1", server.port)}


async def test_passwords_are_in_a_file_only_the_owner_reads(tmp_path: Path) -> None:
    async with running(tmp_path):
        assert stat.S_IMODE((tmp_path / "nats-server.conf").stat().st_mode) == 0o600


async def test_the_port_stays_the_same_at_the_next_start(tmp_path: Path) -> None:
    first = EmbeddedNats(tmp_path, None, AUTHORIZATION).port
    assert EmbeddedNats(tmp_path, None, AUTHORIZATION).port == first


async def test_a_port_that_is_taken_is_replaced(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        async with running(tmp_path, taken) as server:
            assert server.port != taken


async def test_another_server_on_the_port_is_not_taken_for_ours(tmp_path: Path) -> None:
    async with running(tmp_path / "first") as first:
        second = EmbeddedNats(tmp_path / "second", None, AUTHORIZATION)
        assert second.port != first.port
        second._port = first.port
        await second.start()
        assert "address already in use" in await second.wait()
        assert not await second.healthy()


async def test_a_server_that_an_earlier_supervisor_left_is_ended(tmp_path: Path) -> None:
    left = EmbeddedNats(tmp_path, None, AUTHORIZATION)
    await left.start()
    await wait_until_ready(left)
    again = EmbeddedNats(tmp_path, left.port, AUTHORIZATION)
    await again.start()
    assert "ended" in await left.wait()
    await wait_until_ready(again)
    await again.stop()
