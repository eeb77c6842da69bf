"""IdentityService: what a gateway does with a token that is no API key."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from morningai.api.tenants.v1 import identities_pb2 as api
from morningai.api.tenants.v1 import identities_pb2_grpc
from morningai.db.session import Database
from morningai.errors import FailedPrecondition, Unauthenticated
from morningai.rpc.call import Context
from morningai.rpc.time import timestamp
from services.tenancy.domain.members import Identity
from services.tenancy.domain.tenants import SLUG
from services.tenancy.repository import members as repository
from services.tenancy.tokens import TokenVerifier

NO_TENANT = "-"
NO_MEMBER = "Ask for an invitation, and accept it with `morningai member accept`."


class IdentityServicer(identities_pb2_grpc.IdentityServiceServicer):
    def __init__(self, database: Database, verifier: TokenVerifier) -> None:
        self._database = database
        self._verifier = verifier

    async def ExchangeToken(self, request: api.ExchangeTokenRequest, context: Context) -> api.ExchangeTokenResponse:
        identity = await self._verifier.verify(request.token)
        lifetime = identity.expires_at + self._verifier.leeway - datetime.now(UTC)
        if request.tenant_slug == NO_TENANT:
            grant = await repository.prove_identity(self._database, identity, lifetime=lifetime)
        else:
            grant = await self._member_grant(identity, request.tenant_slug, lifetime)
        return api.ExchangeTokenResponse(grant=grant, expire_time=timestamp(identity.expires_at))

    async def _member_grant(self, identity: Identity, slug: str, lifetime: timedelta) -> str:
        if slug and not SLUG.fullmatch(slug):
            raise Unauthenticated("You are no member of that tenant.", remedy=NO_MEMBER)
        found = await repository.exchange_identity(self._database, identity, slug=slug or None, lifetime=lifetime)
        if not found:
            where = "that" if slug else "any"
            raise Unauthenticated(f"You are no member of {where} tenant.", remedy=NO_MEMBER)
        if len(found) > 1:
            slugs = ", ".join(slug for slug, _ in found)
            raise FailedPrecondition(
                "You are a member of several tenants.",
                remedy=f"Send the metadata 'morningai-tenant' with one of {slugs}.",
            )
        return found[0][1]
