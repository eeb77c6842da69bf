"""The public door: an API key becomes a grant, by PostgreSQL's own check; a proof itself is not accepted here."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import TypeVar

from morningai.db.session import Database
from morningai.errors import Unauthenticated
from morningai.rpc.call import Context
from morningai.rpc.server import Metadata, value_of
from services.gateway import repository

SCHEME = "bearer "
LARGEST_CACHE = 10_000
MOST_REFUSED = 1_000
MOST_UNKNOWN_AT_A_TIME = 2
V = TypeVar("V")
REMEDY = "Send the metadata 'authorization: Bearer <key>' with a key of your tenant."


class Authenticator:
    """Keeps grants for a few seconds, by the hash of the key, so that a revoked key ends within them.

    A key that was refused is refused for as long without asking again, and few unknown keys are looked up at a time:
    whoever tries keys leaves the database to the others.
    """

    def __init__(self, database: Database, *, cache_seconds: float) -> None:
        self._database = database
        self._cache_seconds = cache_seconds
        self._grants: dict[bytes, tuple[float, str]] = {}
        self._refused: dict[bytes, float] = {}
        self._looking_up = asyncio.Semaphore(MOST_UNKNOWN_AT_A_TIME)

    async def prove(self, context: Context) -> str:
        """Raises Unauthenticated."""
        key = _key(context.invocation_metadata() or ())
        digest = _digest(key)
        return self._known(digest) or await self._authenticate(key, digest)

    def known_grant(self, metadata: Metadata) -> str | None:
        """Without asking; None when PostgreSQL has to be. Raises Unauthenticated."""
        return self._known(_digest(_key(metadata)))

    def _known(self, digest: bytes) -> str | None:
        """Raises Unauthenticated for a key that was refused a moment ago."""
        now = time.monotonic()
        if self._refused.get(digest, 0.0) > now:
            raise Unauthenticated("The API key is not valid.", remedy=REMEDY)
        ends_at, grant = self._grants.get(digest, (0.0, None))
        return grant if ends_at > now else None

    async def _authenticate(self, key: str, digest: bytes) -> str:
        if digest in self._grants:
            return await self._look_up(key, digest)
        async with self._looking_up:
            # Another call may have brought the same key meanwhile.
            return self._known(digest) or await self._look_up(key, digest)

    async def _look_up(self, key: str, digest: bytes) -> str:
        grant = await repository.authenticate(self._database, key) if "\x00" not in key else None
        ends_at = time.monotonic() + self._cache_seconds
        if grant is None:
            self._grants.pop(digest, None)
            _put(self._refused, digest, ends_at, most=MOST_REFUSED)
            raise Unauthenticated("The API key is not valid.", remedy=REMEDY)
        _put(self._grants, digest, (ends_at, grant), most=LARGEST_CACHE)
        return grant


def _key(metadata: Metadata) -> str:
    header = value_of(metadata, "authorization")
    if not header.lower().startswith(SCHEME):
        raise Unauthenticated("The call carries no API key.", remedy=REMEDY)
    return header[len(SCHEME) :].strip()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def _put(cache: dict[bytes, V], digest: bytes, value: V, *, most: int) -> None:
    """The oldest entry makes room."""
    cache.pop(digest, None)
    if len(cache) >= most:
        del cache[next(iter(cache))]
    cache[digest] = value
