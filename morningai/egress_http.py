"""HTTP to one checked destination: connects to its addresses alone, under the name that was checked."""

from __future__ import annotations

import ssl

import httpx2

from morningai.egress import Destination


class PinnedTransport(httpx2.AsyncBaseTransport):
    """Its connections may be kept: all of them are to one host, whose certificate was verified."""

    def __init__(self, destination: Destination, *, verify: ssl.SSLContext | bool = True) -> None:
        self._destination = destination
        self._inner = httpx2.AsyncHTTPTransport(verify=verify, trust_env=False)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The addresses in turn, until one takes the connection. Raises ConnectError for any other host."""
        url, destination = request.url, self._destination
        port = url.port or {"https": 443, "http": 80}[url.scheme]
        if (url.host.strip("[]").lower().rstrip("."), port) != (destination.host, destination.port):
            raise httpx2.ConnectError(f"{url.host} is not the host that was checked")
        *others, last = destination.addresses
        for address in others:
            try:
                return await self._inner.handle_async_request(self._to(address, request))
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue
        return await self._inner.handle_async_request(self._to(last, request))

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
