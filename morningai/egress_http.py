"""HTTP to one checked destination: to its addresses alone, under the name that was checked, and within bounds."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator

import httpx2

from morningai.egress import Destination

# More than any answer that is waited for; whoever sends more would fill the memory that all tenants share.
LARGEST_RESPONSE_BYTES = 32 * 1024 * 1024


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Its connections may be kept: all of them are to one host, whose certificate was verified.

    An answer is not unpacked, because a few bytes can become many, and ends at LARGEST_RESPONSE_BYTES.
    """

    def __init__(self, destination: Destination, *, verify: ssl.SSLContext | bool = True) -> None:
        self._destination = destination
        self._inner = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The addresses in turn, until one takes the connection. Raises ConnectError for any other host."""
        url, destination = request.url, self._destination
        port = url.port or {"https": 443, "http": 80}[url.scheme]
        if (url.host.strip("[]").lower().rstrip("."), port) != (destination.host, destination.port):
            raise httpx2.ConnectError(f"{url.host} is not the host that was checked")
        request.headers["accept-encoding"] = "identity"
        *others, last = destination.addresses
        for address in others:
            try:
                return _bounded(await self._inner.handle_async_request(self._to(address, request)))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return _bounded(await self._inner.handle_async_request(self._to(last, request)))

    def _to(self, address: str, request: httpx2.Request) -> httpx2.Request:
        return httpx2.Request(
            request.method,
            request.url.copy_with(host=address),
            headers=request.headers,
            stream=request.stream,
            extensions={**request.extensions, "sni_hostname": self._destination.host},
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


def _bounded(response: httpx2.Response) -> httpx2.Response:
    response.headers.pop("content-encoding", None)
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream)
    return response


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises ReadError."""
        received = 0
        async for piece in self._stream:
            received += len(piece)
            if received > LARGEST_RESPONSE_BYTES:
                raise httpx2.ReadError("the answer is longer than any that is waited for")
            yield piece

    async def aclose(self) -> None:
        await self._stream.aclose()
