"""Posts a webhook to an address that a tenant chose: checked and pinned by the egress guard, without redirects.

What comes back is bounded: its status, and the beginning of its body.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx2

from morningai.egress import Destination, EgressGuard
from morningai.egress_http import PinnedTransport
from morningai.errors import InvalidInput, Unavailable, plain
from services.gateway.domain.webhooks import Outcome, Target

URL_FIELD = "webhook_endpoint.url"
KEPT_BYTES = 512
# The status is what counts: a body that does not end is not waited for.
BODY_SECONDS = 1.0
# The whole try has a limit of its own; this one leaves time for a host's next address.
_TIMEOUT = httpx2.Timeout(None, connect=5.0)


class Poster:
    def __init__(self, guard: EgressGuard, *, timeout_seconds: float, certificate_file: Path | None = None) -> None:
        self._guard = guard
        self._timeout_seconds = timeout_seconds
        self._tls = ssl.create_default_context()
        if certificate_file:
            self._tls.load_verify_locations(cafile=certificate_file)

    async def check(self, target: Target) -> Destination:
        """Where the target is now. Raises InvalidInput for one that is not public, or Unavailable.

        Without encryption only hosts are reached that the operator allows by MORNINGAI_WEBHOOK_EGRESS_ALLOWED.
        """
        return await self._guard.check_url(target.scheme, target.host, target.port, input_field=URL_FIELD)

    async def post(self, target: Target, *, headers: Mapping[str, str], body: str) -> Outcome:
        """Never raises for what the endpoint, its host or the network does."""
        destination: Destination | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                destination = await self.check(target)
                return await self._post(target, destination, headers=headers, body=body)
        except TimeoutError:
            late = f"No answer came within {self._timeout_seconds:g} seconds."
            return Outcome(error=late, blames_endpoint=destination is not None)
        except InvalidInput as error:
            return Outcome(error=f"The address {error.problem}")
        except Unavailable as error:
            return Outcome(error=error.message, blames_endpoint=False)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            return Outcome(error=plain(f"The connection failed: {type(error).__name__} {error}".strip()))

    async def _post(
        self, target: Target, destination: Destination, *, headers: Mapping[str, str], body: str
    ) -> Outcome:
        transport = PinnedTransport(destination, verify=self._tls)
        client = httpx2.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=_TIMEOUT)
        url = f"{target.scheme}://{target.authority}{target.path}"
        async with client, client.stream("POST", url, content=body.encode(), headers=headers) as response:
            return _outcome(response.status_code, await _beginning(response))


async def _beginning(response: httpx2.Response) -> str:
    kept = b""
    with suppress(httpx2.HTTPError, TimeoutError):
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in response.aiter_raw():
                kept += piece
                if len(kept) >= KEPT_BYTES:
                    break
    return plain(kept[:KEPT_BYTES].decode(errors="replace"))


def _outcome(status: int, body: str) -> Outcome:
    if 200 <= status < 300:
        return Outcome(status, body)
    said = f"The endpoint answered {status}."
    return Outcome(status, body, f"{said} Redirects are not followed." if 300 <= status < 400 else said)
