"""The public door: an API key becomes a grant, by PostgreSQL's own check; a proof itself is not accepted here."""

from __future__ import annotations

import hashlib
import time

from morningai.db.session import Database
from morningai.errors import Unauthenticated
from morningai.rpc.call import Context
from morningai.rpc.server import metadata_value
from services.gateway.repository import keys as repository

SCHEME = "bearer "
LARGEST_CACHE = 10_000
REMEDY = "Send the metadata 'authorization: Bearer <key>' with a key of your tenant."


class Authenticator:
    """Keeps grants for a few seconds, by the hash of the key, so that a revoked key ends within them."""

    def __init__(self, database: Database, *, cache_seconds: float) -> None:
        self._database = database
        self._cache_seconds = cache_seconds
        self._grants: dict[bytes, tuple[float, str]] = {}

    async def prove(self, context: Context) -> str:
        """Raises Unauthenticated."""
        header = metadata_value(context, "authorization")
        if not header.lower().startswith(SCHEME):
            raise Unauthenticated("The call carries no API key.", remedy=REMEDY)
        key = header[len(SCHEME) :].strip()
        digest = hashlib.sha256(key.encode()).digest()
        known = self._grants.get(digest)
        if known and known[0] > time.monotonic():
            return known[1]
        return await self._authenticate(key, digest)

    async def _authenticate(self, key: str, digest: bytes) -> str:
        grant = await repository.authenticate(self._database, key) if "\x00" not in key else None
        if grant is None:
            self._grants.pop(digest, None)
            raise Unauthenticated("The API key is not valid.", remedy=REMEDY)
        if len(self._grants) >= LARGEST_CACHE:
            self._grants.clear()
        self._grants[digest] = (time.monotonic() + self._cache_seconds, grant)
        return grant
