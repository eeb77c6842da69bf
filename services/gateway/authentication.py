"""The public door: an API key or an identity provider's token becomes a grant; a proof itself is not accepted here.

Keys are checked by PostgreSQL, tokens by tenancy. The grants of both are kept for seconds: what was revoked ends.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

from morningai.api.tenants.v1 import identities_pb2, identities_pb2_grpc
from morningai.db.session import Database
from morningai.errors import FailedPrecondition, MorningAIError, Unauthenticated, Unavailable
from morningai.rpc.call import Context
from morningai.rpc.server import metadata_value
from morningai.rpc.status import remedy_of
from services.gateway.key_uses import KeyUses
from services.gateway.repository import keys as repository

SCHEME = "bearer "
KEY_PREFIXES = ("mk_", "op_")
TENANT_KEY = "morningai-tenant"
LARGEST_CACHE = 10_000
# Below what gRPC takes as metadata, so that the refusal is ours and says what to do.
LONGEST_CREDENTIAL = 6144
EXCHANGE_SECONDS = 10.0
REMEDY = "Send the metadata 'authorization: Bearer <key>' with a key of your tenant."


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
    """Keeps grants for a few seconds, by the hash of the credential, so that a revoked one ends within them."""

    def __init__(
        self, database: Database, key_uses: KeyUses, tenancy: grpc.aio.Channel, *, cache_seconds: float
    ) -> None:
        self._database = database
        self._key_uses = key_uses
        self._identities = identities_pb2_grpc.IdentityServiceStub(tenancy)
        self._cache_seconds = cache_seconds
        self._grants: dict[bytes, tuple[float, str]] = {}

    async def prove(self, context: Context) -> str:
        """Raises Unauthenticated; FailedPrecondition for a member of several tenants who named none."""
        credential = _credential(context)
        digest = credential.digest()
        known = self._grants.get(digest)
        grant = known[1] if known and known[0] > time.monotonic() else await self._authenticate(credential, digest)
        if not credential.is_token:
            self._key_uses.note(credential.text.partition(".")[0])
        return grant

    async def _authenticate(self, credential: Credential, digest: bytes) -> str:
        self._grants.pop(digest, None)
        grant, seconds = await (self._exchange(credential) if credential.is_token else self._check_key(credential))
        if len(self._grants) >= LARGEST_CACHE:
            self._grants.clear()
        self._grants[digest] = (time.monotonic() + min(seconds, self._cache_seconds), grant)
        return grant

    async def _check_key(self, credential: Credential) -> tuple[str, float]:
        grant = await repository.authenticate(self._database, credential.text)
        if grant is None:
            raise Unauthenticated("The API key is not valid.", remedy=REMEDY)
        return grant, self._cache_seconds

    async def _exchange(self, credential: Credential) -> tuple[str, float]:
        """The grant, and the seconds until the token expires."""
        request = identities_pb2.ExchangeTokenRequest(token=credential.text, tenant_slug=credential.tenant_slug)
        try:
            answer = await self._identities.ExchangeToken(request, timeout=EXCHANGE_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise _refusal(error) from error
        left = answer.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
        return answer.grant, left.total_seconds()


def _credential(context: Context) -> Credential:
    header = metadata_value(context, "authorization")
    if not header.lower().startswith(SCHEME):
        raise Unauthenticated("The call carries no API key.", remedy=REMEDY)
    text = header[len(SCHEME) :].strip()
    if not text.isascii() or not text.isprintable() or len(text) > LONGEST_CREDENTIAL:
        raise Unauthenticated("The API key is not valid.", remedy=REMEDY)
    credential = Credential(text, "")
    return Credential(text, metadata_value(context, TENANT_KEY)) if credential.is_token else credential


def _refusal(error: grpc.aio.AioRpcError) -> MorningAIError:
    """What tenancy said of the token, or that it said nothing."""
    remedy = remedy_of(error)
    message = (error.details() or "").removesuffix(remedy).strip()
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return Unauthenticated(message, remedy=remedy)
    if error.code() is grpc.StatusCode.FAILED_PRECONDITION:
        return FailedPrecondition(message, remedy=remedy)
    return Unavailable("Tokens cannot be checked at the moment.", remedy="Try again in a moment.")
