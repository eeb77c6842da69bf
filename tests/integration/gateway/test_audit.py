"""AuditService behind the gateway: what was administered, by whom, under which trace."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.tenants.v1 import audit_pb2 as api
from morningai.api.tenants.v1 import keys_pb2 as keys
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


async def test_a_refused_call_leaves_no_entry_of_an_effect(owner, connect):
    made = await owner.keys.CreateApiKey(
        keys.CreateApiKeyRequest(api_key=keys.ApiKey(display_name="manager", scopes=["keys.write"]))
    )
    manager = await connect(made.key)
    with pytest.raises(Exception, match=r"tasks\.read"):
        await manager.keys.CreateApiKey(new_key())
    assert list((await entries(owner, principal=f"key:{made.key.partition('.')[0]}")).entries) == []


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
