"""The public door: an API key or an identity provider's token becomes a grant; a proof itself is not accepted here.

Keys are checked by PostgreSQL, tokens by tenancy. The grants of both are kept for seconds: what was revoked ends.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import grpc

from morningai.api.tenants.v1 import identities_pb2, identities_pb2_grpc
from morningai.db.session import Database
from morningai.errors import FailedPrecondition, MorningAIError, Unauthenticated, Unavailable
from morningai.rpc.call import Context
from morningai.rpc.server import Metadata, value_of
from morningai.rpc.status import remedy_of
from services.gateway.key_uses import KeyUses
from services.gateway.repository import keys as repository

SCHEME = "bearer "
KEY_PREFIXES = ("mk_", "op_")
TENANT_KEY = "morningai-tenant"
LARGEST_CACHE = 10_000
MOST_REFUSED = 1_000
MOST_UNKNOWN_KEYS_AT_A_TIME = 2
# More, because one may wait for its provider's keys.
MOST_UNKNOWN_TOKENS_AT_A_TIME = 8
# Below what gRPC takes as metadata, so that the refusal is ours and says what to do.
LONGEST_CREDENTIAL = 6144
EXCHANGE_SECONDS = 10.0
REMEDY = "Send the metadata 'authorization: Bearer <key>' with a key of your tenant."
V = TypeVar("V")


@dataclass(frozen=True)
class Credential:
    """What came in the metadata; `tenant_slug` is of a token's alone."""

    text: str
    tenant_slug: str

    @property
    def is_token(self) -> bool:
        return self.text.count(".") == 2 and not self.text.startswith(KEY_PREFIXES)

    def digest(self) -> bytes:
        return hashlib.sha256(f"{self.tenant_slug}\n{self.text}".encode()).digest()


class Authenticator:
    """Keeps grants for a few seconds, by the hash of the credential, so that a revoked one ends within them.

    A key that was refused is refused for as long without asking again, and few unknown credentials are looked up at a
    time: whoever tries them leaves PostgreSQL and tenancy to the others.
    """

    def __init__(
        self, database: Database, key_uses: KeyUses, tenancy: grpc.aio.Channel, *, cache_seconds: float
    ) -> None:
        self._database = database
        self._key_uses = key_uses
        self._identities = identities_pb2_grpc.IdentityServiceStub(tenancy)
        self._cache_seconds = cache_seconds
        self._grants: dict[bytes, tuple[float, str]] = {}
        self._refused: dict[bytes, float] = {}
        self._looking_up_keys = asyncio.Semaphore(MOST_UNKNOWN_KEYS_AT_A_TIME)
        self._looking_up_tokens = asyncio.Semaphore(MOST_UNKNOWN_TOKENS_AT_A_TIME)

    async def prove(self, context: Context) -> str:
        """Raises Unauthenticated; FailedPrecondition for a member of several tenants who named none."""
        credential = _credential(context.invocation_metadata() or ())
        digest = credential.digest()
        grant = self._known(digest) or await self._authenticate(credential, digest)
        if not credential.is_token:
            self._key_uses.note(credential.text.partition(".")[0])
        return grant

    def known_grant(self, metadata: Metadata) -> str | None:
        """Without asking; None when somebody has to be. Raises Unauthenticated."""
        return self._known(_credential(metadata).digest())

    def _known(self, digest: bytes) -> str | None:
        """Raises Unauthenticated for a key that was refused a moment ago."""
        now = time.monotonic()
        if self._refused.get(digest, 0.0) > now:
            raise _not_valid()
        ends_at, grant = self._grants.get(digest, (0.0, None))
        return grant if ends_at > now else None

    async def _authenticate(self, credential: Credential, digest: bytes) -> str:
        if digest in self._grants:
            return await self._look_up(credential, digest)
        async with self._looking_up_tokens if credential.is_token else self._looking_up_keys:
            # Another call may have brought the same credential meanwhile.
            return self._known(digest) or await self._look_up(credential, digest)

    async def _look_up(self, credential: Credential, digest: bytes) -> str:
        self._grants.pop(digest, None)
        grant, seconds = await (self._exchange if credential.is_token else self._check_key)(credential)
        ends_at = time.monotonic() + min(seconds, self._cache_seconds)
        if grant is None:
            _put(self._refused, digest, ends_at, most=MOST_REFUSED)
            raise _not_valid()
        _put(self._grants, digest, (ends_at, grant), most=LARGEST_CACHE)
        return grant

    async def _check_key(self, credential: Credential) -> tuple[str | None, float]:
        return await repository.authenticate(self._database, credential.text), self._cache_seconds

    async def _exchange(self, credential: Credential) -> tuple[str | None, float]:
        """The grant, and the seconds until the token expires."""
        request = identities_pb2.ExchangeTokenRequest(token=credential.text, tenant_slug=credential.tenant_slug)
        try:
            answer = await self._identities.ExchangeToken(request, timeout=EXCHANGE_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error
        left = answer.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
        return answer.grant, left.total_seconds()


def _credential(metadata: Metadata) -> Credential:
    header = value_of(metadata, "authorization")
    if not header.lower().startswith(SCHEME):
        raise Unauthenticated("The call carries no API key.", remedy=REMEDY)
    text = header[len(SCHEME) :].strip()
    if not text.isascii() or not text.isprintable() or len(text) > LONGEST_CREDENTIAL:
        raise _not_valid()
    credential = Credential(text, "")
    return Credential(text, value_of(metadata, TENANT_KEY)) if credential.is_token else credential


def _not_valid() -> Unauthenticated:
    return Unauthenticated("The API key is not valid.", remedy=REMEDY)


def _put(cache: dict[bytes, V], digest: bytes, value: V, *, most: int) -> None:
    """The oldest entry makes room."""
    cache.pop(digest, None)
    if len(cache) >= most:
        del cache[next(iter(cache))]
    cache[digest] = value


def _refusal(error: grpc.aio.AioRpcError) -> MorningAIError:
    """What tenancy said of the token, or that it said nothing."""
    remedy = remedy_of(error)
    message = (error.details() or "").removesuffix(remedy).strip()
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(message, remedy=remedy)
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return FailedPrecondition(message, remedy=remedy)
    return Unavailable("Tokens cannot be checked at the moment.", remedy="Try again in a moment.")
