"""Servers and channels with certificates that the test made."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from morningai.rpc.channel import make_channel
from morningai.rpc.listening import Listening, listening_of
from morningai.rpc.probe import is_serving
from morningai.rpc.server import RpcServer
from morningai.rpc.tls import CertificateFiles, certificate_files
from morningai.settings import ServiceSettings, SettingsInvalid
from tests.certificates import Authority, Pair


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "stranger")


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@asynccontextmanager
async def serving(pair: Pair, *, ca: Path | None = None) -> AsyncIterator[str]:
    files = CertificateFiles(pair.certificate, pair.key, ca, "TLS")
    address = free_address()
    server = RpcServer(address, [], listening=Listening(certificates=files), public=True)
    await server.start()
    yield address
    await server.stop(0)


async def serves(channel: grpc.aio.Channel) -> bool:
    stub = health_pb2_grpc.HealthStub(channel)
    try:
        async with channel:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
    return True


def client(address: str, ca: Path, own: Pair | None = None) -> grpc.aio.Channel:
    own_files = (own.key.read_bytes(), own.certificate.read_bytes()) if own else (None, None)
    # A subchannel is shared between channels with equal arguments, and with it a connection that was made before.
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca.read_bytes(), *own_files), options=options)


async def test_a_client_that_trusts_the_authority_is_served(authority):
    async with serving(authority.issue("door")) as address:
        assert await serves(client(address, authority.file))


async def test_a_client_that_trusts_another_authority_is_not(authority, stranger):
    async with serving(authority.issue("door")) as address:
        assert not await serves(client(address, stranger.file))


async def test_a_certificate_that_has_ended_is_not_trusted(authority):
    async with serving(authority.issue("door", ended=True)) as address:
        assert not await serves(client(address, authority.file))


async def test_a_plain_client_is_not_served(authority):
    async with serving(authority.issue("door")) as address:
        assert not await serves(grpc.aio.insecure_channel(address))


CLIENTS: dict[str, tuple[Callable[[Authority, Authority], Pair | None], bool]] = {
    "its own": (lambda authority, stranger: authority.issue("client"), True),
    "none": (lambda authority, stranger: None, False),
    "one of another authority": (lambda authority, stranger: stranger.issue("client"), False),
    "one that has ended": (lambda authority, stranger: authority.issue("client", ended=True), False),
}


@pytest.mark.parametrize("shown", CLIENTS)
async def test_a_server_with_an_authority_takes_only_clients_that_it_signed(authority, stranger, shown):
    issue, taken = CLIENTS[shown]
    async with serving(authority.issue("door"), ca=authority.file) as address:
        assert await serves(client(address, authority.file, issue(authority, stranger))) is taken


async def test_a_replaced_certificate_is_served_without_a_new_start(authority, stranger):
    pair = authority.issue("door")
    async with serving(pair) as address:
        assert await serves(client(address, authority.file))
        pair.replace_by(stranger.issue("other-door"))
        assert await serves(client(address, stranger.file))
        assert not await serves(client(address, authority.file))


async def test_a_replaced_authority_decides_about_clients_without_a_new_start(authority, stranger, tmp_path):
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(authority.file.read_bytes())
    async with serving(authority.issue("door"), ca=trusted) as address:
        assert await serves(client(address, authority.file, authority.issue("client")))
        trusted.write_bytes(stranger.file.read_bytes())
        assert not await serves(client(address, authority.file, authority.issue("client")))
        assert await serves(client(address, authority.file, stranger.issue("client")))


async def test_half_of_a_replacement_is_not_served(authority):
    pair = authority.issue("door")
    async with serving(pair) as address:
        pair.certificate.write_bytes(authority.issue("next").certificate.read_bytes())
        assert await serves(client(address, authority.file))
        pair.certificate.unlink()
        assert await serves(client(address, authority.file))


async def test_a_call_goes_on_while_the_certificate_is_replaced(authority, stranger):
    pair = authority.issue("door")
    async with serving(pair) as address, client(address, authority.file) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        pair.replace_by(stranger.issue("other-door"))
        await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)


def settings_of(folder: Path, address: str, **values: object) -> ServiceSettings:
    made: dict[str, object] = {
        "database_dsn": "",
        "relay_dsn": "",
        "nats_url": "",
        "nats_user": "",
        "nats_password": "",
    }
    return ServiceSettings.model_validate(made | {"grpc_address": address, "work_dir": folder} | values)


def internal(pair: Pair, authority: Authority) -> dict[str, object]:
    return {
        "internal_certificate_file": pair.certificate,
        "internal_key_file": pair.key,
        "internal_ca_file": authority.file,
    }


@asynccontextmanager
async def service(settings: ServiceSettings) -> AsyncIterator[str]:
    server = RpcServer(settings.grpc_address, [], listening=listening_of(settings))
    await server.start()
    yield settings.grpc_address
    await server.stop(0)


async def test_services_know_each_other_by_their_authority(authority, stranger, tmp_path):
    docs = settings_of(tmp_path, free_address(), **internal(authority.issue("docs"), authority))
    gateway = settings_of(tmp_path, free_address(), **internal(authority.issue("gateway"), authority))
    intruder = settings_of(tmp_path, free_address(), **internal(stranger.issue("intruder"), authority))
    async with service(docs) as address:
        assert await serves(make_channel(address, gateway))
        assert not await serves(make_channel(address, intruder))
        assert not await serves(make_channel(address))
        assert not await serves(client(address, authority.file))


async def test_a_service_does_not_talk_to_one_of_another_authority(authority, stranger, tmp_path):
    impostor = settings_of(tmp_path, free_address(), **internal(stranger.issue("docs"), authority))
    gateway = settings_of(tmp_path, free_address(), **internal(authority.issue("gateway"), authority))
    async with service(impostor) as address:
        assert not await serves(make_channel(address, gateway))


@pytest.mark.parametrize("restarted", range(3))
async def test_a_new_authority_takes_three_rounds_in_each_of_which_services_know_each_other(tmp_path, restarted):
    """Before and after a round, calling and called, as docs/guides/tls.md says; a round left out is noticed."""
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    both = tmp_path / "both.pem"
    both.write_bytes(old.file.read_bytes() + new.file.read_bytes())
    pairs = {"old": old.issue("old-docs"), "new": new.issue("new-docs")}
    rounds = [("old", old.file), ("old", both), ("new", both), ("new", new.file)]

    def settings(number: int) -> ServiceSettings:
        pair, ca = rounds[number]
        own = internal(pairs[pair], old) | {"internal_ca_file": ca}
        return settings_of(tmp_path, free_address(), **own)

    before, after = settings(restarted), settings(restarted + 1)
    for called, calling in ((before, after), (after, before), (after, after)):
        async with service(called) as address:
            assert await serves(make_channel(address, calling))
    async with service(settings(0)) as address:
        assert not await serves(make_channel(address, settings(2)))
        assert not await serves(make_channel(address, settings(3)))


async def test_a_unix_socket_stays_plain(authority, tmp_path):
    settings = settings_of(tmp_path, f"unix:{tmp_path}/s.sock", **internal(authority.issue("docs"), authority))
    async with service(settings) as address:
        assert await serves(make_channel(address, settings))


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "docs:50051", "localhost.example.org:1", "10.0.0.1:1"])
def test_nothing_is_served_or_called_in_plain_beyond_this_machine(tmp_path, address):
    settings = settings_of(tmp_path, address, allow_plaintext=False)
    with pytest.raises(SettingsInvalid, match="MORNINGAI_ALLOW_PLAINTEXT"):
        RpcServer(address, [], listening=listening_of(settings))
    with pytest.raises(SettingsInvalid, match="MORNINGAI_ALLOW_PLAINTEXT"):
        make_channel(address, settings)


async def test_plain_beyond_this_machine_is_served_where_the_settings_say_so(tmp_path):
    port = free_address().rpartition(":")[2]
    async with service(settings_of(tmp_path, f"0.0.0.0:{port}", allow_plaintext=True)):
        assert await serves(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))


@pytest.mark.parametrize("missing", ["certificate", "key", "ca"])
def test_half_of_the_certificates_stop_the_start_with_the_name_of_the_other(authority, tmp_path, missing):
    given = internal(authority.issue("docs"), authority) | {f"internal_{missing}_file": None}
    with pytest.raises(SettingsInvalid, match=f"MORNINGAI_INTERNAL_{missing.upper()}_FILE: is missing"):
        listening_of(settings_of(tmp_path, "127.0.0.1:1", **given))


def test_wrong_files_stop_the_start_with_the_setting(authority, tmp_path):
    pair, other = authority.issue("door"), authority.issue("other")
    nowhere, garbage = tmp_path / "nowhere.pem", tmp_path / "garbage.pem"
    garbage.write_text("no certificate")
    wrong = {
        "TLS_CERTIFICATE_FILE": (nowhere, pair.key, None),
        "TLS_KEY_FILE": (pair.certificate, other.key, None),
        "TLS_CA_FILE": (pair.certificate, pair.key, garbage),
    }
    said = {}
    for setting, (certificate, key, ca) in wrong.items():
        with pytest.raises(SettingsInvalid) as refused:
            RpcServer(
                "127.0.0.1:1", [], listening=Listening(certificates=certificate_files("TLS", certificate, key, ca))
            )
        said[setting] = str(refused.value)
    assert {setting for setting, words in said.items() if f"MORNINGAI_{setting}" in words} == set(wrong)


@pytest.mark.parametrize("own", ["TLS", "INTERNAL", "PROBE"])
async def test_the_probe_of_a_container_speaks_tls_where_its_service_does(authority, monkeypatch, own):
    pair = authority.issue("docs")
    monkeypatch.setenv(f"MORNINGAI_{own}_CERTIFICATE_FILE", str(pair.certificate))
    monkeypatch.setenv(f"MORNINGAI_{own}_KEY_FILE", str(pair.key))
    async with serving(pair, ca=authority.file) as address:
        assert await asyncio.to_thread(is_serving, address)
