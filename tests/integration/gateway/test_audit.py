"""AuditService behind the gateway: what was administered, by whom, under which trace."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import audit_pb2 as api
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import members_pb2 as members
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.api.tenants.v1 import usage_pb2 as usage
from tests.integration.gateway.platform import OPERATOR_KEY


def new_key(number=0):
    return keys.CreateApiKeyRequest(api_key=keys.ApiKey(display_name=f"key {number}", scopes=["tasks.read"]))


async def entries(client, page_size=0, page_token="", **wanted):
    request = api.ListAuditEntriesRequest(page_size=page_size, page_token=page_token, filter=api.AuditFilter(**wanted))
    return await client.audit.ListAuditEntries(request)


async def exported(client, **wanted):
    request = api.ExportAuditEntriesRequest(filter=api.AuditFilter(**wanted))
    return [one.entry async for one in client.audit.ExportAuditEntries(request)]


@pytest.fixture
async def owner(connect, acme):
    return await connect(acme.api_key)


async def test_what_was_done_to_a_key_is_in_the_log_with_its_trace(owner, acme):
    trace_id = uuid4().hex
    traced = (("traceparent", f"00-{trace_id}-{'1' * 16}-01"),)
    made = await owner.keys.CreateApiKey(new_key(), metadata=traced)
    await owner.keys.RotateApiKey(keys.RotateApiKeyRequest(name=made.api_key.name))
    await owner.keys.RevokeApiKey(keys.RevokeApiKeyRequest(name=made.api_key.name))
    found = [entry for entry in (await entries(owner)).entries if entry.resource == made.api_key.name]
    assert [entry.action for entry in found] == ["keys.revoke", "keys.rotate", "keys.create"]
    created = found[-1]
    assert (created.trace_id, created.outcome) == (trace_id, api.AUDIT_OUTCOME_SUCCEEDED)
    assert created.principal == f"key:{acme.api_key.partition('.')[0]}"
    assert MessageToDict(created.details) == {"display_name": "key 0", "scopes": ["tasks.read"], "expire_time": None}


@pytest.fixture
async def narrow(owner, connect):
    """`await narrow(scope)`: a client with a key of the tenant that has this scope alone, and its principal."""

    async def narrow(scope):
        wanted = keys.ApiKey(display_name="narrow", scopes=[scope])
        made = await owner.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=wanted))
        return await connect(made.key), f"key:{made.key.partition('.')[0]}"

    return narrow


async def refused(call):
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


async def refusals(owner, principal):
    """Of one principal, the oldest first."""
    found = (await entries(owner, principal=principal, outcome=api.AUDIT_OUTCOME_REFUSED)).entries
    return [(entry.action, entry.resource, entry.details["reason"]) for entry in reversed(found)]


async def test_a_refused_call_leaves_no_entry_of_an_effect(owner, narrow):
    manager, principal = await narrow("keys.write")
    await refused(manager.keys.CreateApiKey(new_key()))
    assert list((await entries(owner, principal=principal, outcome=api.AUDIT_OUTCOME_SUCCEEDED)).entries) == []


async def test_who_tries_to_get_more_than_they_hold_is_in_the_log(owner, narrow, acme):
    manager, principal = await narrow("keys.write")
    first = f"apiKeys/{acme.api_key.partition('.')[0]}"
    await refused(manager.keys.CreateApiKey(new_key()))
    await refused(manager.keys.RotateApiKey(keys.RotateApiKeyRequest(name=first)))
    assert await refusals(owner, principal) == [
        ("keys.create", "", "PERMISSION_DENIED"),
        ("keys.rotate", first, "PERMISSION_DENIED"),
    ]
    [entry] = (await entries(owner, principal=principal, action="keys.create")).entries
    assert entry.details["message"] == "This needs the scope 'tasks.read', which you do not hold."


async def test_a_call_that_is_refused_at_the_door_is_in_the_log_with_its_trace(owner, narrow):
    reader, principal = await narrow("tasks.read")
    trace_id = uuid4().hex
    traced = (("traceparent", f"00-{trace_id}-{'1' * 16}-01"),)
    await refused(reader.keys.RevokeApiKey(keys.RevokeApiKeyRequest(name="apiKeys/mk_1"), metadata=traced))
    await refused(reader.tenants.CreateTenant(tenants.CreateTenantRequest(tenant=tenants.Tenant(slug="mine"))))
    await refused(reader.usage.UpdateLimits(usage.UpdateLimitsRequest()))
    assert await refusals(owner, principal) == [
        (action, "", "PERMISSION_DENIED") for action in ("keys.revoke", "tenants.create", "limits.set")
    ]
    [entry] = (await entries(owner, principal=principal, action="keys.revoke")).entries
    assert entry.trace_id == trace_id


async def test_who_tries_to_remove_the_last_owner_is_in_the_log(owner, acme, platform):
    insert = "INSERT INTO tenancy.members (tenant_id, issuer, subject, email, display_name, role)"
    await platform.database.change(f"{insert} VALUES ('{acme.tenant_id}', 'i', 's', '', '', 'owner')")
    [last] = (await owner.members.ListMembers(members.ListMembersRequest())).members
    demoted = members.Member(name=last.name, role=members.MEMBER_ROLE_VIEWER)
    await refused(owner.members.RemoveMember(members.RemoveMemberRequest(name=last.name)))
    await refused(owner.members.UpdateMember(members.UpdateMemberRequest(member=demoted)))
    assert await refusals(owner, f"key:{acme.api_key.partition('.')[0]}") == [
        ("members.remove", last.name, "FAILED_PRECONDITION"),
        ("members.update", last.name, "FAILED_PRECONDITION"),
    ]


async def test_what_another_service_refuses_is_in_the_log_without_the_secret(client, owner, acme, platform):
    """An uploaded source takes no credential."""
    request = sources.SetSourceCredentialRequest(name="sources/small", token="a-secret-token")
    assert await refused(client.sources.SetSourceCredential(request)) is grpc.StatusCode.FAILED_PRECONDITION
    assert await refusals(owner, f"key:{acme.api_key.partition('.')[0]}") == [
        ("sources.set_credential", "sources/small", "FAILED_PRECONDITION")
    ]
    rows = platform.database.rows("SELECT a::text FROM tenancy.audit_log AS a WHERE tenant_id = %s", acme.tenant_id)
    assert [row for (row,) in rows if "a-secret-token" in row] == []


async def test_refused_calls_that_administer_nothing_are_not_in_the_log(owner, narrow):
    reader, principal = await narrow("sources.read")
    assert await refused(reader.tasks.ListTasks(tasks.ListTasksRequest())) is grpc.StatusCode.PERMISSION_DENIED
    assert await refused(reader.keys.ListApiKeys(keys.ListApiKeysRequest())) is grpc.StatusCode.PERMISSION_DENIED
    assert await refusals(owner, principal) == []


async def test_whoever_is_refused_without_end_fills_no_log(owner, narrow, connect, new_tenant):
    reader, principal = await narrow("tasks.read")
    for _ in range(40):
        await refused(reader.keys.RevokeApiKey(keys.RevokeApiKeyRequest(name="apiKeys/mk_1")))
    assert 20 <= len(await refusals(owner, principal)) <= 25
    tenant = new_tenant()
    other = await connect(tenant.api_key)
    await refused(other.tenants.ListTenants(tenants.ListTenantsRequest()))
    await refused(other.tenants.CreateTenant(tenants.CreateTenantRequest(tenant=tenants.Tenant(slug="mine"))))
    assert len(await refusals(other, f"key:{tenant.api_key.partition('.')[0]}")) == 1


async def test_an_operator_s_refused_call_is_in_no_tenant_s_log(connect, platform):
    operator = await connect(platform.operator_key)
    assert await refused(operator.keys.CreateApiKey(new_key())) is grpc.StatusCode.PERMISSION_DENIED
    query = "SELECT count(*) FROM tenancy.audit_log WHERE starts_with(principal, 'operator:') AND outcome = 'refused'"
    assert platform.database.rows(query) == [(0,)]


async def test_who_set_which_price_is_what_operators_read_and_tenants_do_not(owner, connect, platform):
    operator, model = await connect(platform.operator_key), f"m-{uuid4()}"
    for prompt_price in (5, 6):
        price = usage.ModelPrice(model=model, prompt_price=prompt_price, completion_price=7)
        await operator.usage.UpdateModelPrice(usage.UpdateModelPriceRequest(price=price))
    first = await operator.audit.ListOperatorEntries(api.ListOperatorEntriesRequest(page_size=1))
    second = await operator.audit.ListOperatorEntries(
        api.ListOperatorEntriesRequest(page_size=1, page_token=first.next_page_token)
    )
    found = [entry for page in (first, second) for entry in page.entries]
    assert {(entry.action, entry.resource, entry.principal) for entry in found} == {
        ("prices.set", f"models/{model}", f"operator:{OPERATOR_KEY.partition('.')[0]}")
    }
    assert [MessageToDict(entry.details) for entry in found] == [
        {"prompt_price": 6, "old_prompt_price": 5, "completion_price": 7, "old_completion_price": 7},
        {"prompt_price": 5, "old_prompt_price": None, "completion_price": 7, "old_completion_price": None},
    ]
    with pytest.raises(grpc.aio.AioRpcError) as denied:
        await owner.audit.ListOperatorEntries(api.ListOperatorEntriesRequest())
    assert denied.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_what_an_operator_did_is_an_entry_of_the_tenant(owner, acme):
    found = (await entries(owner, action="tenants.create")).entries
    assert [(entry.principal, entry.resource) for entry in found] == [
        (f"operator:{OPERATOR_KEY.partition('.')[0]}", f"tenants/{acme.tenant_id}")
    ]


async def test_entries_are_listed_newest_first_in_pages(owner):
    made = [(await owner.keys.CreateApiKey(new_key(number))).api_key.name for number in range(3)]
    first = await entries(owner, 2, action="keys.create")
    second = await entries(owner, 2, first.next_page_token, action="keys.create")
    assert [entry.resource for page in (first, second) for entry in page.entries] == made[::-1]
    assert second.next_page_token == ""


async def test_entries_are_asked_for_by_principal_and_time(owner, acme):
    await owner.keys.CreateApiKey(new_key())
    moment = Timestamp()
    moment.FromDatetime(datetime.now(UTC))
    await owner.keys.CreateApiKey(new_key(1))
    principal = f"key:{acme.api_key.partition('.')[0]}"
    late = (await entries(owner, principal=principal, start_time=moment)).entries
    early = (await entries(owner, principal=principal, end_time=moment)).entries
    assert [len(late), len(early)] == [1, 1]
    assert (await entries(owner, principal="key:nobody")).entries == []


async def test_the_export_holds_every_entry_oldest_first(owner, platform, acme):
    await platform.database.change(
        "INSERT INTO tenancy.audit_log (tenant_id, principal, action, resource)"
        f" SELECT '{acme.tenant_id}', 'key:x', 'tests.fill', n::text FROM generate_series(1, 1200) AS n"
    )
    found = await exported(owner, action="tests.fill")
    assert sorted(int(entry.resource) for entry in found) == list(range(1, 1201))
    times = [(entry.create_time.ToNanoseconds(), entry.name) for entry in found]
    assert times == sorted(times)


async def test_another_tenant_s_entries_are_neither_listed_nor_exported(owner, connect, new_tenant):
    await owner.keys.CreateApiKey(new_key())
    stranger = await connect(new_tenant().api_key)
    assert (await entries(stranger, action="keys.create")).entries == []
    assert await exported(stranger, action="keys.create") == []
