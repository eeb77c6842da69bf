"""The public door with certificates, by the gateway's own settings."""

from __future__ import annotations

import socket
from pathlib import Path

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tasks.v1 import tasks_pb2_grpc
from morningai.settings import SettingsInvalid
from tests.certificates import Authority, Pair
from tests.integration.gateway.door import open_door
from tests.integration.gateway.platform import bearer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def settings(authority: Authority) -> dict[str, object]:
    """Of a door that asks for a certificate."""
    pair = authority.issue("door")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    return {
        "grpc_address": address,
        "tls_certificate_file": pair.certificate,
        "tls_key_file": pair.key,
        "tls_ca_file": authority.file,
    }


async def code_of_list(address: str, authority: Authority, own: Pair | None, key: str) -> grpc.StatusCode:
    own_files = (own.key.read_bytes(), own.certificate.read_bytes()) if own else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), *own_files)
    async with grpc.aio.secure_channel(address, credentials) as channel:
        stub = tasks_pb2_grpc.TaskServiceStub(channel)
        try:
            await stub.ListTasks(api.ListTasksRequest(), metadata=(bearer(key),), timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


async def test_a_certificate_opens_the_connection_and_the_key_the_door(database, tenant, tmp_path, authority, settings):
    async with open_door(database, tmp_path, **settings) as address:
        own = authority.issue("client")
        assert await code_of_list(address, authority, own, tenant.api_key) is grpc.StatusCode.OK
        assert await code_of_list(address, authority, own, "mk_1.wrong") is grpc.StatusCode.UNAUTHENTICATED
        assert await code_of_list(address, authority, None, tenant.api_key) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"grpc_address": "0.0.0.0:50051", "allow_plaintext": False}, "MORNINGAI_ALLOW_PLAINTEXT"),
        ({"docs_address": "docs:50051", "allow_plaintext": False}, "MORNINGAI_ALLOW_PLAINTEXT"),
        ({"tls_certificate_file": Path("/nowhere.pem")}, "MORNINGAI_TLS_KEY_FILE"),
    ],
    ids=["a plain door for everybody", "a plain way to docs", "a certificate without its key"],
)
async def test_a_gateway_does_not_start_without_the_tls_that_it_needs(database, tmp_path, changes, setting):
    with pytest.raises(SettingsInvalid, match=setting):
        async with open_door(database, tmp_path, **changes):
            pass
