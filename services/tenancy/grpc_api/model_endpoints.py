"""ModelEndpointService."""

from __future__ import annotations

from morningai.api.tenants.v1 import models_pb2 as api
from morningai.api.tenants.v1 import models_pb2_grpc
from morningai.db.session import Database
from morningai.egress import EgressGuard
from morningai.errors import NotFound, PermissionDenied
from morningai.rpc.call import Context, check_scope, rpc_session
from morningai.rpc.time import timestamp
from morningai.secrets.vault import Vault
from services.tenancy.domain.model_endpoints import URL_FIELD, ModelEndpoint, check_endpoint, parse_kind, parse_url
from services.tenancy.repository import model_endpoints as repository


class ModelEndpointServicer(models_pb2_grpc.ModelEndpointServiceServicer):
    def __init__(self, database: Database, vault: Vault, guard: EgressGuard) -> None:
        self._database = database
        self._vault = vault
        self._guard = guard

    async def SetModelEndpoint(self, request: api.SetModelEndpointRequest, context: Context) -> api.ModelEndpoint:
        given = request.model_endpoint
        endpoint = check_endpoint(
            name=given.name,
            base_url=given.base_url,
            model=given.model,
            context_tokens=given.context_tokens,
            api_key=request.api_key,
        )
        await check_scope(self._database)
        place = parse_url(endpoint.base_url)
        if place.is_address:  # a name is resolved by who connects: tenancy itself reaches no other network
            await self._guard.check_url(place.scheme, place.host, place.port, input_field=URL_FIELD)
        async with rpc_session(self._database) as session:
            cell = repository.key_cell(session.tenant_id, endpoint)
            sealed = await self._vault.seal(session, cell, request.api_key.encode("ascii")) if request.api_key else None
            await repository.set_endpoint(session, endpoint, sealed)
            stored = await repository.list_endpoints(session)
        return next(_message(found) for found in stored if found.kind == endpoint.kind)

    async def ListModelEndpoints(
        self, request: api.ListModelEndpointsRequest, context: Context
    ) -> api.ListModelEndpointsResponse:
        async with rpc_session(self._database) as session:
            found = await repository.list_endpoints(session)
        return api.ListModelEndpointsResponse(model_endpoints=map(_message, found))

    async def ClearModelEndpoint(
        self, request: api.ClearModelEndpointRequest, context: Context
    ) -> api.ClearModelEndpointResponse:
        async with rpc_session(self._database) as session:
            await repository.clear_endpoint(session, parse_kind(request.name))
        return api.ClearModelEndpointResponse()

    async def OpenModelEndpoint(
        self, request: api.OpenModelEndpointRequest, context: Context
    ) -> api.OpenModelEndpointResponse:
        kind = parse_kind(request.kind)
        async with rpc_session(self._database) as session:
            if session.task_id is None:
                raise PermissionDenied("Only a task opens a model endpoint.")
            found = await repository.get_endpoint(session, kind)
            if found is None:
                raise NotFound("model endpoint", f"modelEndpoints/{kind}")
            endpoint, sealed = found
            cell = repository.key_cell(session.tenant_id, endpoint)
            key = await self._vault.open(session, cell, sealed) if sealed is not None else b""
        return api.OpenModelEndpointResponse(model_endpoint=_message(endpoint), api_key=key.decode("ascii"))


def _message(endpoint: ModelEndpoint) -> api.ModelEndpoint:
    return api.ModelEndpoint(
        name=endpoint.name,
        base_url=endpoint.base_url,
        model=endpoint.model,
        context_tokens=endpoint.context_tokens,
        has_api_key=endpoint.has_api_key,
        set_time=timestamp(endpoint.set_at) if endpoint.set_at else None,
    )
