"""What a tenant's endpoint is reached through: the checked addresses, the host's certificate, no redirect."""

from __future__ import annotations

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from morningai import egress_http
from morningai.egress import AllowList, Destination, EgressGuard
from morningai.egress_http import PinnedTransport
from morningai.errors import InvalidInput
from morningai.llm import ModelRefused, ModelSettings, Prompt, Uncharged, start
from morningai.llm.start import connect_tenant_model
from morningai.llm.tracing import uninstrument_model_calls
from morningai.testing.model_script import Script, ScriptedReply
from morningai.testing.model_server import ScriptedModelServer
from tests.certificates import Authority

PROMPT = Prompt("greet", 1, "You are brief.", "Greet the world.")


@asynccontextmanager
async def answering(answer: Callable[[bytes], bytes], context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server on 127.0.0.1 that answers the head of a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(answer(await reader.readuntil(b"\r\n\r\n")))
            await writer.drain()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.fixture(autouse=True)
def _untraced() -> Iterator[None]:
    """Tracing stays on in a process, and its spans would go where another test does not look."""
    yield
    uninstrument_model_calls()
    start._client_class.cache_clear()


def saying(head: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(head) + head


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def serving_context(authority: Authority) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    pair = authority.issue("server")
    context.load_cert_chain(pair.certificate, pair.key)
    return context


async def get(host: str, port: int, authority: Authority, *addresses: str, scheme: str = "https") -> httpx2.Response:
    transport = PinnedTransport(
        Destination(host, port, addresses), verify=ssl.create_default_context(cafile=authority.file)
    )
    async with httpx2.AsyncClient(transport=transport, trust_env=False) as client:
        return await client.get(f"{scheme}://{host}:{port}/v1")


async def test_the_connection_is_to_the_address_and_the_certificate_is_the_hosts(authority: Authority) -> None:
    async with answering(saying, serving_context(authority)) as port:
        answer = await get("localhost", port, authority, "127.0.0.1")
        assert f"host: localhost:{port}" in answer.text.lower()
        with pytest.raises(httpx2.ConnectError, match=r"localhost|mismatch"):
            await get("other.example", port, authority, "127.0.0.1")


async def test_the_next_address_is_tried_when_one_takes_no_connection(authority: Authority) -> None:
    async with answering(saying, serving_context(authority)) as port:
        assert (await get("localhost", port, authority, "127.0.0.9", "127.0.0.1")).status_code == 200
        with pytest.raises(httpx2.ConnectError):
            await get("localhost", port, authority, "127.0.0.9", "127.0.0.8")


async def test_an_answer_that_does_not_end_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_http, "LARGEST_RESPONSE_BYTES", 100_000)
    endless = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: " + b"x" * 1_000_000
    async with answering(lambda head: endless) as port:
        transport = PinnedTransport(Destination("llm.example", port, ("127.0.0.1",)))
        async with httpx2.AsyncClient(transport=transport) as client:
            with pytest.raises(httpx2.ReadError, match="longer than any"):
                await client.get(f"http://llm.example:{port}/")


async def test_an_answer_is_not_unpacked() -> None:
    packed = gzip.compress(b"0" * 1_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    asked = []
    async with answering(lambda request: asked.append(request) or head + packed) as port:
        transport = PinnedTransport(Destination("llm.example", port, ("127.0.0.1",)))
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get(f"http://llm.example:{port}/")).content == packed
    assert b"accept-encoding: identity" in asked[0].lower()


async def test_no_other_host_and_no_other_port_is_reached() -> None:
    async with answering(saying) as port:
        transport = PinnedTransport(Destination("llm.example", port, ("127.0.0.1",)))
        async with httpx2.AsyncClient(transport=transport) as client:
            assert (await client.get(f"http://llm.example:{port}/")).status_code == 200
            for url in (f"http://127.0.0.1:{port}/", f"http://llm.example:{port + 1}/", "http://llm.example/"):
                with pytest.raises(httpx2.ConnectError, match="not the host that was checked"):
                    await client.get(url)


def allowing(*hosts: str) -> EgressGuard:
    return EgressGuard(AllowList.parse(hosts))


async def test_a_redirect_is_a_refusal() -> None:
    async with ScriptedModelServer(Script.of(ScriptedReply(content="hello"))).serving() as inner:
        moved = b"HTTP/1.1 307 Moved\r\nLocation: %s/chat/completions\r\nContent-Length: 0\r\n\r\n"
        async with answering(lambda head: moved % inner.base_url.encode()) as port:
            client = await connect_tenant_model(
                ModelSettings(max_attempts=1),
                allowing("127.0.0.1"),
                base_url=f"http://127.0.0.1:{port}/v1",
                api_key="hush",
                model="m",
                context_tokens=4096,
            )
            with pytest.raises(ModelRefused, match="HTTP status 307"):
                await client.charged_to(Uncharged()).complete_text(PROMPT, 100)
            await client.close()
        assert inner.calls == []


async def test_nothing_of_the_environment_reaches_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "of-the-platform")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer of-the-platform\nx-extra: of-the-platform")
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with ScriptedModelServer(Script.of(ScriptedReply(content="hello"))).serving() as server:
        client = await connect_tenant_model(
            ModelSettings(), allowing("127.0.0.1"), base_url=server.base_url, api_key="", model="m", context_tokens=4096
        )
        await client.charged_to(Uncharged()).complete_text(PROMPT, 100)
        await client.close()
    (call,) = server.calls
    assert "of-the-platform" not in str(call.headers)
    assert call.headers["authorization"] == "Bearer none"


async def test_an_address_without_encryption_is_for_allowed_hosts_alone() -> None:
    async def public(host: str, port: int) -> list[str]:
        return ["93.184.215.14"]

    guard = EgressGuard(resolver=public)
    await guard.check_url("https", "llm.example", 443, input_field="url")
    with pytest.raises(InvalidInput, match="not an https address"):
        await guard.check_url("http", "llm.example", 80, input_field="url")
