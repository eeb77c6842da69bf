"""UsageService at the real gateway: own usage alone, budgets below the operator's, limits by the operator."""

from __future__ import annotations

from uuid import uuid4

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import usage_pb2 as api

TASK = uuid4()
USED = """
INSERT INTO tenancy.usage
  (tenant_id, day, task_id, model, calls, calls_in_full, prompt_tokens, completion_tokens, money)
VALUES ('{tenant}', '2026-01-31', '{task}', 'large', 2, 1, 100, 10, 7),
       ('{tenant}', '2026-02-01', '{task}', 'small', 1, 0, 20, 2, 1),
       ('{tenant}', '2026-02-02', '{other}', 'small', 4, 0, 400, 8, 2)
"""


def get_usage(client, group=api.USAGE_GROUP_DAY, start="2026-01-01", end="2026-02-28"):
    return client.usage.GetUsage(api.GetUsageRequest(group=group, start_date=start, end_date=end))


@pytest.fixture
async def owner(connect, acme, new_tenant, platform):
    await platform.database.change(USED.format(tenant=acme.tenant_id, task=TASK, other=uuid4()))
    await platform.database.change(USED.format(tenant=new_tenant().tenant_id, task=TASK, other=uuid4()))
    return await connect(acme.api_key)


async def operator_sets(connect, platform, tenant, **values):
    operator = await connect(platform.operator_key)
    changes = [api.LimitChange(name=name, value=value) for name, value in values.items()]
    request = api.UpdateTenantLimitsRequest(tenant=f"tenants/{tenant.tenant_id}", changes=changes)
    return {limit.name: limit for limit in (await operator.usage.UpdateTenantLimits(request)).limits}


async def set_limits(client):
    """Entries of the audit log, the newest first."""
    request = audit.ListAuditEntriesRequest(filter=audit.AuditFilter(action="limits.set"))
    return list((await client.audit.ListAuditEntries(request)).entries)


async def limits(client):
    return {limit.name: limit for limit in (await client.usage.ListLimits(api.ListLimitsRequest())).limits}


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        (api.USAGE_GROUP_DAY, [("2026-01-31", 2), ("2026-02-01", 1), ("2026-02-02", 4)]),
        (api.USAGE_GROUP_MONTH, [("2026-01", 2), ("2026-02", 5)]),
        (api.USAGE_GROUP_MODEL, [("small", 5), ("large", 2)]),
    ],
)
async def test_usage_is_summed_in_groups(owner, group, expected):
    found = await get_usage(owner, group)
    assert [(row.key, row.calls) for row in found.rows] == expected
    total = found.total
    assert (total.calls, total.calls_in_full, total.prompt_tokens, total.money_micros) == (7, 1, 520, 10)


async def test_usage_of_a_task_is_found_under_its_name(owner):
    rows = {row.key: row for row in (await get_usage(owner, api.USAGE_GROUP_TASK)).rows}
    assert (rows[f"tasks/{TASK}"].prompt_tokens, len(rows)) == (120, 2)


async def test_the_days_of_a_period_are_included_and_no_others(owner):
    found = await get_usage(owner, start="2026-02-01", end="2026-02-01")
    assert [(row.key, row.calls) for row in found.rows] == [("2026-02-01", 1)]
    assert (await get_usage(owner, start="2025-01-01", end="2025-12-31")).total.calls == 0


async def test_every_limit_is_listed_with_its_default(owner):
    found = await limits(owner)
    assert len(found) == 23
    assert (found["sources"].value, found["sources"].HasField("operator_value")) == (200, False)
    assert (found["tokens_per_day"].HasField("value"), found["tokens_per_day"].used) == (False, 0)


async def test_an_owner_s_budget_holds_below_the_operator_s_alone(owner, acme, connect, platform):
    await operator_sets(connect, platform, acme, tokens_per_day=1000)
    for own, holds in ((400, 400), (5000, 1000)):
        change = api.LimitChange(name="tokens_per_day", value=own)
        await owner.usage.UpdateLimits(api.UpdateLimitsRequest(changes=[change]))
        found = (await limits(owner))["tokens_per_day"]
        assert (found.value, found.operator_value, found.tenant_value) == (holds, 1000, own)
    await owner.usage.UpdateLimits(api.UpdateLimitsRequest(changes=[api.LimitChange(name="tokens_per_day")]))
    assert not (await limits(owner))["tokens_per_day"].HasField("tenant_value")


async def test_what_the_operator_sets_is_the_tenant_s_alone(owner, acme, connect, platform, new_tenant):
    shown = await operator_sets(connect, platform, acme, sources=3, read_calls_burst=50)
    assert (shown["sources"].value, (await limits(owner))["sources"].value) == (3, 3)
    other = await connect(new_tenant().api_key)
    assert (await limits(other))["sources"].value == 200


async def test_one_wrong_change_of_many_changes_nothing(owner, connect, platform, acme):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await operator_sets(connect, platform, acme, sources=3, nothing=4)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await limits(owner))["sources"].value == 200


async def test_a_price_is_set_and_changed(connect, platform):
    operator, model = await connect(platform.operator_key), f"m-{uuid4()}"
    for prompt_price in (5, 6):
        price = api.ModelPrice(model=model, prompt_price=prompt_price, completion_price=7)
        assert await operator.usage.UpdateModelPrice(api.UpdateModelPriceRequest(price=price)) == price
    query = "SELECT prompt_price, completion_price FROM tenancy.model_prices WHERE model = %s"
    assert platform.database.rows(query, model) == [(6, 7)]


async def test_no_tenant_sets_a_price_or_limits_of_its_own_but_budgets(owner, acme):
    refused = []
    for call in (
        owner.usage.UpdateModelPrice(api.UpdateModelPriceRequest(price=api.ModelPrice(model="m"))),
        owner.usage.UpdateTenantLimits(api.UpdateTenantLimitsRequest(tenant=f"tenants/{acme.tenant_id}")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await call
        refused.append(error.value.code())
    assert refused == [grpc.StatusCode.PERMISSION_DENIED] * 2


async def test_who_set_which_limit_to_what_is_in_the_tenant_s_log(owner, acme, connect, platform):
    await operator_sets(connect, platform, acme, tokens_per_day=1000)
    for value in (400, None):
        change = api.LimitChange(name="tokens_per_day", value=value)
        await owner.usage.UpdateLimits(api.UpdateLimitsRequest(changes=[change]))
    found = await set_limits(owner)
    assert [(entry.principal, entry.resource) for entry in found] == [
        (f"key:{acme.api_key.partition('.')[0]}", "limits/tokens_per_day"),
        (f"key:{acme.api_key.partition('.')[0]}", "limits/tokens_per_day"),
        (f"operator:{platform.operator_key.partition('.')[0]}", "limits/tokens_per_day"),
    ]
    assert [MessageToDict(entry.details) for entry in found] == [
        {"value": None, "old_value": 400},
        {"value": 400, "old_value": None},
        {"value": 1000, "old_value": None},
    ]


async def test_limits_that_were_not_set_are_not_in_the_log(owner, acme, connect, platform):
    with pytest.raises(grpc.aio.AioRpcError):
        await operator_sets(connect, platform, acme, sources=3, nothing=4)
    changes = [api.LimitChange(name="tokens_per_day", value=1), api.LimitChange(name="sources", value=1)]
    with pytest.raises(grpc.aio.AioRpcError):
        await owner.usage.UpdateLimits(api.UpdateLimitsRequest(changes=changes))
    assert await set_limits(owner) == []
