"""TenantService behind the gateway: operators create tenants, tenants read themselves."""

from __future__ import annotations

from uuid import uuid4

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.rpc.status import remedy_of
from tests.integration.gateway.platform import resource_of


def new_tenant_request(slug):
    return tenants.CreateTenantRequest(tenant=tenants.Tenant(slug=slug, display_name="New"))


async def test_an_operator_creates_a_tenant_whose_key_works_at_once(connect, platform):
    operator = await connect(platform.operator_key)
    slug = f"t-{uuid4().hex[:12]}"
    created = await operator.tenants.CreateTenant(new_tenant_request(slug))
    client = await connect(created.api_key)
    own = await client.tenants.GetTenant(tenants.GetTenantRequest(name="tenants/-"))
    assert (own.name, own.slug, own.display_name) == (created.tenant.name, slug, "New")
    assert list((await client.tasks.ListTasks(api.ListTasksRequest())).tasks) == []


async def test_the_secret_of_a_key_is_not_stored(connect, platform):
    operator = await connect(platform.operator_key)
    created = await operator.tenants.CreateTenant(new_tenant_request(f"t-{uuid4().hex[:12]}"))
    key_id, _, secret = created.api_key.partition(".")
    rows = platform.database.rows("SELECT k::text FROM tenancy.api_keys AS k WHERE key_id = %s", key_id)
    assert len(rows) == 1
    assert secret not in rows[0][0]


async def test_a_slug_is_taken_once(connect, platform):
    operator = await connect(platform.operator_key)
    request = new_tenant_request(f"t-{uuid4().hex[:12]}")
    await operator.tenants.CreateTenant(request)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await operator.tenants.CreateTenant(request)
    assert refused.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert (resource_of(refused.value), remedy_of(refused.value)) == ("tenant", "Choose another name.")
    query = "SELECT count(*) FROM tenancy.tenants WHERE slug = %s"
    assert platform.database.rows(query, request.tenant.slug) == [(1,)]


async def test_a_tenant_creates_no_tenant(connect, acme, platform):
    client = await connect(acme.api_key)
    slug = f"t-{uuid4().hex[:12]}"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.tenants.CreateTenant(new_tenant_request(slug))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert platform.database.rows("SELECT 1 FROM tenancy.tenants WHERE slug = %s", slug) == []


async def test_another_tenant_does_not_exist(connect, acme, new_tenant):
    client = await connect(acme.api_key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.tenants.GetTenant(tenants.GetTenantRequest(name=f"tenants/{new_tenant().tenant_id}"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert resource_of(refused.value) == "tenant"
