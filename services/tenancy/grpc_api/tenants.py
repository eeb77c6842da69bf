"""TenantService."""

from __future__ import annotations

from uuid import UUID

from morningai.api.events.v1 import events_pb2 as events
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import tenants_pb2 as api
from morningai.api.tenants.v1 import tenants_pb2_grpc
from morningai.bus.outbox import command
from morningai.db.session import Database
from morningai.errors import NotFound
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import timestamp
from services.tenancy.domain.pages import check_page
from services.tenancy.domain.tenants import Tenant, check_display_name, check_page_slug, check_slug
from services.tenancy.grpc_api.keys import make_key
from services.tenancy.repository import tenants as repository

REMEDY = "Ask for 'tenants/-', your own."
OPERATOR_REMEDY = "`tenant list` shows all of them."

END_TASK = events.CancelTask(
    failure=tasks.Failure(
        reason="tenant_suspended",
        message="The tenant was suspended.",
        remedy="Ask the operator of the platform; then create the task again.",
    )
)


class TenantServicer(tenants_pb2_grpc.TenantServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def CreateTenant(self, request: api.CreateTenantRequest, context: Context) -> api.CreateTenantResponse:
        slug = check_slug(request.tenant.slug)
        display_name = check_display_name(request.tenant.display_name, slug=slug)
        key = make_key()
        async with rpc_session(self._database) as session:
            tenant_id = await repository.create_tenant(session, slug=slug, display_name=display_name, key=key)
        tenant = api.Tenant(
            name=f"tenants/{tenant_id}", slug=slug, display_name=display_name, state=api.TENANT_STATE_ACTIVE
        )
        return api.CreateTenantResponse(tenant=tenant, api_key=str(key))

    async def GetTenant(self, request: api.GetTenantRequest, context: Context) -> api.Tenant:
        async with rpc_session(self._database) as session:
            tenant = await repository.get_tenant(session, _tenant_id(request.name, own=session.tenant_id))
        if tenant is None:
            raise NotFound("tenant", request.name, remedy=REMEDY)
        return _message(tenant)

    async def UpdateTenant(self, request: api.UpdateTenantRequest, context: Context) -> api.Tenant:
        async with rpc_session(self._database) as session:
            tenant = await repository.get_tenant(session, _tenant_id(request.tenant.name, own=session.tenant_id))
            if tenant is None:
                raise NotFound("tenant", request.tenant.name, remedy=REMEDY)
            display_name = check_display_name(request.tenant.display_name, slug=tenant.slug)
            return _message(await repository.update_tenant(session, display_name=display_name))

    async def ListTenants(self, request: api.ListTenantsRequest, context: Context) -> api.ListTenantsResponse:
        page = check_page(request.page_size, "")
        after = check_page_slug(request.page_token)
        async with rpc_session(self._database) as session:
            found = await repository.list_tenants(session, after=after, limit=page.size + 1)
        token = found[page.size - 1].slug if len(found) > page.size else ""
        return api.ListTenantsResponse(
            tenants=[_message(tenant) for tenant in found[: page.size]], next_page_token=token
        )

    async def SuspendTenant(self, request: api.SuspendTenantRequest, context: Context) -> api.Tenant:
        async with rpc_session(self._database) as session:
            tenant = await repository.suspend_tenant(session, _uuid(request.name, remedy=OPERATOR_REMEDY))
        if tenant:
            # In a transaction of its own: a task that begins from here on sees that the tenant is suspended.
            async with rpc_session(self._database) as session:
                await repository.send_to_open_tasks(session, tenant.tenant_id, command(END_TASK, to="orchestrator"))
        return _found(tenant, request.name)

    async def ResumeTenant(self, request: api.ResumeTenantRequest, context: Context) -> api.Tenant:
        async with rpc_session(self._database) as session:
            tenant = await repository.resume_tenant(session, _uuid(request.name, remedy=OPERATOR_REMEDY))
        return _found(tenant, request.name)


def _tenant_id(name: str, *, own: UUID) -> UUID:
    return own if name == "tenants/-" else _uuid(name, remedy=REMEDY)


def _uuid(name: str, *, remedy: str) -> UUID:
    try:
        return UUID(name.removeprefix("tenants/"))
    except ValueError as error:
        raise NotFound("tenant", name, remedy=remedy) from error


def _found(tenant: Tenant | None, name: str) -> api.Tenant:
    if tenant is None:
        raise NotFound("tenant", name, remedy=OPERATOR_REMEDY)
    return _message(tenant)


def _message(tenant: Tenant) -> api.Tenant:
    return api.Tenant(
        name=f"tenants/{tenant.tenant_id}",
        slug=tenant.slug,
        display_name=tenant.display_name,
        create_time=timestamp(tenant.created_at),
        state=api.TenantState.Value(f"TENANT_STATE_{tenant.state.upper()}"),
    )
