"""TenantService behind the gateway: operators create tenants, tenants read themselves."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.rpc.status import remedy_of
from services.tenancy.domain.principals import SCOPES, Role
from tests.integration.gateway.platform import KEY_CACHE_SECONDS, resource_of


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


def renaming(name, display_name):
    return tenants.UpdateTenantRequest(tenant=tenants.Tenant(name=name, display_name=display_name))


@pytest.mark.parametrize(("given", "shown"), [("Acme Ltd.", "Acme Ltd."), ("", None)])
async def test_an_owner_renames_the_tenant(connect, acme, platform, given, shown):
    owner = await connect(acme.api_key)
    before = await owner.tenants.GetTenant(tenants.GetTenantRequest(name="tenants/-"))
    renamed = await owner.tenants.UpdateTenant(renaming("tenants/-", given))
    assert (renamed.name, renamed.slug, renamed.display_name) == (named(acme), before.slug, shown or before.slug)
    assert await owner.tenants.GetTenant(tenants.GetTenantRequest(name=named(acme))) == renamed
    query = "SELECT principal, resource, details FROM tenancy.audit_log WHERE tenant_id = %s AND action = %s"
    details = {"display_name": renamed.display_name, "old_display_name": before.display_name}
    assert platform.database.rows(query, acme.tenant_id, "tenants.update") == [
        (f"key:{acme.api_key.partition('.')[0]}", named(acme), details)
    ]


async def test_an_admin_does_not_rename_the_tenant(connect, acme):
    owner = await connect(acme.api_key)
    wanted = keys.ApiKey(display_name="admin", scopes=sorted(SCOPES[Role.ADMIN]))
    admin = await connect((await owner.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=wanted))).key)
    with pytest.raises(grpc.aio.AioRpcError, match=r"tenants\.write") as refused:
        await admin.tenants.UpdateTenant(renaming("tenants/-", "Mine"))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_another_tenant_is_not_renamed(connect, acme, new_tenant, platform):
    owner, other = await connect(acme.api_key), new_tenant()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await owner.tenants.UpdateTenant(renaming(named(other), "Mine"))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert platform.database.rows("SELECT 1 FROM tenancy.tenants WHERE display_name = 'Mine'") == []


def named(tenant):
    return f"tenants/{tenant.tenant_id}"


async def code_of_list(client):
    try:
        await client.tasks.ListTasks(api.ListTasksRequest())
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_suspended_tenant_is_shut_out_within_its_seconds_and_let_in_again(connect, acme, platform):
    operator, client = await connect(platform.operator_key), await connect(acme.api_key)
    assert await code_of_list(client) is grpc.StatusCode.OK
    suspended = await operator.tenants.SuspendTenant(tenants.SuspendTenantRequest(name=named(acme)))
    assert (suspended.name, suspended.state) == (named(acme), tenants.TENANT_STATE_SUSPENDED)
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    assert await code_of_list(client) is grpc.StatusCode.UNAUTHENTICATED
    resumed = await operator.tenants.ResumeTenant(tenants.ResumeTenantRequest(name=named(acme)))
    assert resumed.state == tenants.TENANT_STATE_ACTIVE
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    assert await code_of_list(client) is grpc.StatusCode.OK


async def test_suspending_a_tenant_ends_its_running_tasks(connect, client, acme, platform):
    task = api.Task(instruction="what is it?", source="sources/small", kinds=[api.TASK_KIND_ANSWER])
    created = await client.tasks.CreateTask(api.CreateTaskRequest(task=task, request_id=str(uuid4())))
    operator = await connect(platform.operator_key)
    await operator.tenants.SuspendTenant(tenants.SuspendTenantRequest(name=named(acme)))
    query = "SELECT state, failure ->> 'reason' FROM gateway.tasks WHERE task_id = %s AND ended_at IS NOT NULL"
    async with asyncio.timeout(30):
        while not (ended := platform.database.rows(query, UUID(created.name.removeprefix("tasks/")))):  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert ended[0][0] == "cancelled"
    assert ended[0][1] in ("tenant_suspended", "principal_revoked")


async def test_another_tenant_goes_on_while_one_is_suspended(connect, acme, new_tenant, platform):
    operator, other = await connect(platform.operator_key), await connect(new_tenant().api_key)
    await operator.tenants.SuspendTenant(tenants.SuspendTenantRequest(name=named(acme)))
    assert await code_of_list(other) is grpc.StatusCode.OK


async def test_suspending_and_resuming_are_entries_of_the_tenant_once_each(connect, acme, platform):
    operator = await connect(platform.operator_key)
    for _ in range(2):
        await operator.tenants.SuspendTenant(tenants.SuspendTenantRequest(name=named(acme)))
    for _ in range(2):
        await operator.tenants.ResumeTenant(tenants.ResumeTenantRequest(name=named(acme)))
    query = "SELECT action, principal FROM tenancy.audit_log WHERE tenant_id = %s ORDER BY entry_id"
    principal = f"operator:{platform.operator_key.partition('.')[0]}"
    actions = ("tenants.create", "tenants.suspend", "tenants.resume")
    assert platform.database.rows(query, acme.tenant_id) == [(action, principal) for action in actions]


async def test_an_operator_lists_all_tenants_by_slug_in_pages(connect, new_tenant, platform):
    operator = await connect(platform.operator_key)
    made = {str(new_tenant().tenant_id) for _ in range(3)}
    found, token = [], None
    while token != "":
        page = await operator.tenants.ListTenants(tenants.ListTenantsRequest(page_size=2, page_token=token or ""))
        found += page.tenants
        token = page.next_page_token
    assert [tenant.slug for tenant in found] == sorted(tenant.slug for tenant in found)
    assert made <= {tenant.name.removeprefix("tenants/") for tenant in found}
    assert len({tenant.name for tenant in found}) == len(found)
