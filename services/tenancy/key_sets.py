"""The public keys of identity providers (RFC 7517), fetched through the egress guard and kept for minutes.

A key that is not known makes one fetch at most in a while, whoever asks: unknown keys cost strangers nothing.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import httpx2
import structlog

from morningai.egress import Destination, EgressGuard
from morningai.egress_http import PinnedTransport
from morningai.errors import MorningAIError, Unavailable
from services.tenancy.settings import Issuer

log = structlog.get_logger()

KeyData: TypeAlias = Mapping[str, str]

LARGEST_KEY_SET_BYTES = 256 * 1024
MOST_KEYS = 100
FETCH_SECONDS = 5.0
# While a provider does not answer, its last keys are believed for this long.
STALE_SECONDS = 3600.0


class KeySetUnusable(MorningAIError):
    """What was fetched is no key set."""


@dataclass
class KeySet:
    """The signing keys of one issuer by their ids."""

    keys: dict[str, KeyData] = field(default_factory=dict)
    fetched_at: float = float("-inf")
    tried_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeySets:
    def __init__(self, guard: EgressGuard, *, fresh_seconds: float, refetch_seconds: float) -> None:
        self._guard = guard
        self._fresh_seconds = fresh_seconds
        self._refetch_seconds = refetch_seconds
        self._sets: dict[str, KeySet] = {}

    async def get_key(self, issuer: Issuer, key_id: str) -> KeyData | None:
        """None when the issuer has no such key. Raises Unavailable when its keys cannot be had."""
        key_set = self._sets.setdefault(issuer.issuer, KeySet())
        if self._lacks(key_set, key_id):
            async with key_set.lock:
                if self._lacks(key_set, key_id) and time.monotonic() - key_set.tried_at > self._refetch_seconds:
                    await self._refresh(issuer, key_set)
        if time.monotonic() - key_set.fetched_at > self._fresh_seconds + STALE_SECONDS:
            raise Unavailable("The identity provider's keys cannot be had.", remedy="Try again in a moment.")
        return key_set.keys.get(key_id)

    def _lacks(self, key_set: KeySet, key_id: str) -> bool:
        return key_id not in key_set.keys or time.monotonic() - key_set.fetched_at > self._fresh_seconds

    async def _refresh(self, issuer: Issuer, key_set: KeySet) -> None:
        key_set.tried_at = time.monotonic()
        try:
            key_set.keys = await self._fetch(issuer)
            key_set.fetched_at = key_set.tried_at
        except (MorningAIError, httpx2.HTTPError, TimeoutError) as error:
            log.warning("tenancy.key_set.failed", issuer=issuer.issuer, error=str(error) or type(error).__name__)

    async def _fetch(self, issuer: Issuer) -> dict[str, KeyData]:
        url = httpx2.URL(issuer.jwks_uri)
        port = url.port or (443 if url.scheme == "https" else 80)
        async with asyncio.timeout(FETCH_SECONDS):
            destination = await self._guard.check(url.host, port, input_field="jwks_uri")
            return parse_key_set(await _download(url, destination))


async def _download(url: httpx2.URL, destination: Destination) -> bytes:
    """Follows no redirect."""
    received = bytearray()
    async with (
        httpx2.AsyncClient(transport=PinnedTransport(destination), trust_env=False, timeout=FETCH_SECONDS) as client,
        client.stream("GET", url, headers={"Accept": "application/json"}) as response,
    ):
        if response.status_code != 200:
            raise KeySetUnusable(f"HTTP status {response.status_code}")
        async for piece in response.aiter_bytes():
            received += piece
            if len(received) > LARGEST_KEY_SET_BYTES:
                raise KeySetUnusable("larger than allowed")
    return bytes(received)


def parse_key_set(content: bytes) -> dict[str, KeyData]:
    """The keys for signatures, by id. Raises KeySetUnusable."""
    try:
        found = json.loads(content)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeySetUnusable("no key set") from error
    if not isinstance(found, list):
        raise KeySetUnusable("no key set")
    return {key["kid"]: cast(KeyData, key) for key in found[:MOST_KEYS] if _verifies(key)}


def _verifies(key: object) -> bool:
    return isinstance(key, dict) and isinstance(key.get("kid"), str) and key.get("use", "sig") == "sig"
