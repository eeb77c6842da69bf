from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import nats
import pytest

from morningai.bus.broker import connect
from morningai.bus.server_config import nats_tls
from morningai.bus.tls import bus_context
from morningai.embedded.nats import EmbeddedNats
from morningai.settings import ServiceSettings, SettingsInvalid
from tests.certificates import Authority
from tests.conftest import AUTHORIZATION, PASSWORD


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def server(tmp_path, authority):
    pair = authority.issue("bus")
    running = EmbeddedNats(tmp_path / "nats", None, AUTHORIZATION + nats_tls(pair.certificate, pair.key))
    await running.start()
    while not await running.healthy():  # noqa: ASYNC110  a server has no event to wait for
        await asyncio.sleep(0.05)
    yield running
    await running.stop()


def settings(url: str, folder: Path, **given: object) -> ServiceSettings:
    return ServiceSettings.model_validate(
        {
            "database_dsn": "host=d",
            "relay_dsn": "host=r",
            "nats_url": url,
            "nats_user": "docs",
            "nats_password": PASSWORD,
            "grpc_address": "unix:/s",
            "work_dir": folder,
        }
        | given
    )


def tls_url(server: EmbeddedNats) -> str:
    return server.url.replace("nats://", "tls://")


async def connected(server: EmbeddedNats, given: ServiceSettings) -> str:
    """The version of TLS that a service's connection speaks."""
    broker, _ = await connect("docs", given)
    client = await broker.connect()
    try:
        return str(client._transport._io_writer.get_extra_info("ssl_object").version())
    finally:
        await broker.stop()


async def test_a_service_speaks_tls_to_a_bus_that_its_authority_signed(server, authority, tmp_path):
    given = settings(tls_url(server), tmp_path, nats_ca_file=authority.file)
    assert await connected(server, given) in ("TLSv1.2", "TLSv1.3")


async def test_a_bus_of_another_authority_is_told_nothing(server, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(ssl.SSLCertVerificationError):
        await first_connection(server, ssl.create_default_context(cafile=stranger.file))


async def test_a_bus_that_pretends_to_speak_no_tls_is_told_nothing(tmp_path, authority):
    """What somebody between would try: a greeting that asks for the password and not for TLS."""
    heard = bytearray()

    async def pretend(reader, writer):
        writer.write(b'INFO {"server_id":"x","version":"2.12.0","auth_required":true,"max_payload":1024}\r\n')
        heard.extend(await reader.read(4096))
        writer.close()

    pretender = await asyncio.start_server(pretend, "127.0.0.1", 0)
    port = pretender.sockets[0].getsockname()[1]
    given = settings(f"tls://127.0.0.1:{port}", tmp_path, nats_ca_file=authority.file)
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            await connect("docs", given)
    pretender.close()
    assert heard.startswith(b"\x16\x03")  # a ClientHello
    assert PASSWORD.encode() not in heard


async def test_a_subscriber_that_waits_to_be_asked_for_tls_is_served_too(server, authority):
    context = ssl.create_default_context(cafile=authority.file)
    client = await nats.connect(server.url, user="docs", password=PASSWORD, tls=context)
    assert client._transport._io_writer.get_extra_info("ssl_object") is not None
    await client.close()


async def test_a_client_without_tls_is_not_served(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    await reader.readline()
    writer.write(b'CONNECT {"user":"docs","pass":"' + PASSWORD.encode() + b'","verbose":true}\r\nPING\r\n')
    assert b"PONG" not in await reader.read()
    writer.close()


@pytest.mark.parametrize(
    ("url", "given", "named"),
    [
        ("nats://bus.example.org:4222", {"allow_plaintext": False}, "MORNINGAI_ALLOW_PLAINTEXT"),
        ("nats://127.0.0.1:4222", {"nats_ca_file": "ca.pem"}, "MORNINGAI_NATS_URL"),
        ("tls://127.0.0.1:4222", {"nats_ca_file": "/no/ca.pem"}, "MORNINGAI_NATS_CA_FILE"),
    ],
)
def test_wrong_settings_stop_the_start(tmp_path, url, given, named):
    with pytest.raises(SettingsInvalid, match=named):
        bus_context(settings(url, tmp_path, **given))


def test_a_plain_bus_is_for_this_machine_or_where_the_settings_say_so(tmp_path):
    assert bus_context(settings("nats://127.0.0.1:4222", tmp_path)) is None
    assert bus_context(settings("nats://bus:4222", tmp_path, allow_plaintext=True)) is None


async def first_connection(server: EmbeddedNats, context: ssl.SSLContext) -> None:
    """Raises the first error; a service would try again for ever."""
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def on_error(error: Exception) -> None:
        if not failed.done():
            failed.set_result(error)

    connecting = asyncio.ensure_future(
        nats.connect(
            tls_url(server),
            user="docs",
            password=PASSWORD,
            tls=context,
            tls_handshake_first=True,
            error_cb=on_error,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
        )
    )
    await asyncio.wait({connecting, failed}, return_when=asyncio.FIRST_COMPLETED, timeout=10)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    raise failed.result()
