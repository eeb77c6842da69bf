"""Whose model a piece of work asks: the endpoint that its tenant set for this kind of task, else the platform's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, LiteralString, TypeAlias

import grpc

from morningai.api.tenants.v1 import models_pb2 as api
from morningai.api.tenants.v1 import models_pb2_grpc
from morningai.db.session import Database
from morningai.egress import AllowList, EgressGuard
from morningai.errors import NotFound
from morningai.llm.settings import ModelSettings
from morningai.llm.start import connect_model, connect_tenant_model
from morningai.llm.tenant_budget import TenantBudget
from morningai.rpc.channel import error_of, proof_metadata

if TYPE_CHECKING:
    from morningai.llm.client import ModelClient

Kind: TypeAlias = Literal["answer", "faq", "document", "change"]
OPEN_SECONDS = 10.0
HAS_ENDPOINT: LiteralString = "SELECT tenancy.has_model_endpoint(%(kind)s) AS found"


class Models:
    def __init__(self, settings: ModelSettings, tenancy: grpc.aio.Channel) -> None:
        self._settings = settings
        self._tenancy = models_pb2_grpc.ModelEndpointServiceStub(tenancy)
        self._guard = EgressGuard(AllowList.parse(settings.egress_allowed.split(",")))
        self._platform = connect_model(settings)

    @asynccontextmanager
    async def model_for(self, kind: Kind, database: Database, proof: str) -> AsyncIterator[ModelClient | None]:
        """Charged to the tenant of the seal; None when there is neither endpoint.

        A tenant's endpoint that cannot be opened or reached is never replaced by the platform's: raises Unavailable,
        Permanent, or InvalidInput for one whose address is internal now.
        """
        budget = TenantBudget(database, proof)
        own = await self._open(kind, database, proof)
        if own is None:
            yield self._platform.charged_to(budget) if self._platform else None
            return
        endpoint = own.model_endpoint
        client = await connect_tenant_model(
            self._settings,
            self._guard,
            base_url=endpoint.base_url,
            api_key=own.api_key,
            model=endpoint.model,
            context_tokens=endpoint.context_tokens,
        )
        try:
            yield client.charged_to(budget)
        finally:
            await client.close()

    async def _open(self, kind: Kind, database: Database, proof: str) -> api.OpenModelEndpointResponse | None:
        async with database.tenant_session(proof) as session:
            row = await session.row(HAS_ENDPOINT, {"kind": kind})
        if row is None or not row["found"]:
            return None
        request = api.OpenModelEndpointRequest(kind=kind)
        try:
            return await self._tenancy.OpenModelEndpoint(request, metadata=proof_metadata(proof), timeout=OPEN_SECONDS)
        except grpc.aio.AioRpcError as error:
            failure = error_of(error, peer="tenancy")
            if isinstance(failure, NotFound):  # cleared since
                return None
            raise failure from error
