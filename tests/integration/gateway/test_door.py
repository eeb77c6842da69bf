"""Who gets in at the public door, and what is passed on behind it."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from morningai.api.answers.v1 import answers_pb2
from morningai.api.changes.v1 import changes_pb2, changes_pb2_grpc
from morningai.api.search.v1 import search_pb2, search_pb2_grpc
from morningai.api.sources.v1 import sources_pb2
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import tenants_pb2
from morningai.rpc.call import PROOF_KEY
from morningai.rpc.status import reason_of, remedy_of
from tests.integration.gateway.door import insert_task
from tests.integration.gateway.platform import KEY_CACHE_SECONDS

REVOKE = "UPDATE tenancy.api_keys SET revoked_at = now() WHERE tenant_id = '{}'"
EXPIRE = "UPDATE tenancy.api_keys SET expires_at = now() - interval '1 second' WHERE tenant_id = '{}'"
SUSPEND = "UPDATE tenancy.tenants SET state = 'suspended' WHERE tenant_id = '{}'"


async def code_of_list(client, **options):
    try:
        await client.tasks.ListTasks(api.ListTasksRequest(), timeout=10, **options)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_health_needs_no_key(connect):
    client = await connect()
    answer = await health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def seal_of(acme):
    with psycopg.connect(acme.database.dsn("gateway_app")) as connection:
        connection.execute("SELECT kernel.open_session(%s)", (acme.grant(),))
        task_id = uuid4()
        connection.execute(
            "INSERT INTO outbox (task_id, type, subject, body, traceparent, due_at)"
            " VALUES (%s, 't', 's', '', '', 'infinity')",
            (task_id,),
        )
    return acme.database.rows("SELECT seal FROM gateway.outbox WHERE task_id = %s", task_id)[0][0]


CREDENTIALS = {
    "nothing": lambda acme: (),
    "an empty key": lambda acme: (("authorization", "Bearer "),),
    "another scheme": lambda acme: (("authorization", f"Basic {acme.api_key}"),),
    "a key without a scheme": lambda acme: (("authorization", acme.api_key),),
    "an unknown key": lambda acme: (("authorization", "Bearer mk_0123456789abcdef.secret"),),
    "a wrong secret": lambda acme: (("authorization", f"Bearer {acme.api_key}x"),),
    "a key id alone": lambda acme: (("authorization", f"Bearer {acme.api_key.partition('.')[0]}"),),
    "a key with more behind it": lambda acme: (("authorization", f"Bearer {acme.api_key}.more"),),
    "a key in another header": lambda acme: (("x-api-key", acme.api_key),),
    "a grant": lambda acme: (("authorization", f"Bearer {acme.grant()}"),),
    "a grant as between services": lambda acme: ((PROOF_KEY, acme.grant()),),
    "a seal": lambda acme: (("authorization", f"Bearer {seal_of(acme)}"),),
    "a seal as between services": lambda acme: ((PROOF_KEY, seal_of(acme)),),
    "an injection": lambda acme: (("authorization", "Bearer ' OR true --"),),
    "a wildcard": lambda acme: (("authorization", "Bearer %.%"),),
}


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_only_a_valid_key_opens_the_door(connect, acme, credential):
    client = await connect("", *CREDENTIALS[credential](acme))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.tasks.ListTasks(api.ListTasksRequest())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert reason_of(refused.value) == "UNAUTHENTICATED"
    assert "authorization: Bearer" in remedy_of(refused.value)


async def test_a_proof_beside_a_key_changes_nothing(connect, acme, new_tenant, platform):
    client = await connect(acme.api_key, (PROOF_KEY, new_tenant().grant()))
    await client.answers.GetAnswer(answers_pb2.GetAnswerRequest(name="answers/1"))
    proofs = [value for key, value in platform.answers.metadata if key == PROOF_KEY]
    assert [proof.split("|")[2] for proof in proofs] == [str(acme.tenant_id)]


async def test_the_key_itself_stays_at_the_door(connect, acme, platform):
    client = await connect(acme.api_key)
    await client.answers.GetAnswer(answers_pb2.GetAnswerRequest(name="answers/1"))
    assert [key for key, value in platform.answers.metadata if acme.api_key in value or key == "authorization"] == []


async def test_the_caller_s_deadline_is_passed_on(connect, acme, platform):
    client = await connect(acme.api_key)
    await client.answers.GetAnswer(answers_pb2.GetAnswerRequest(name="answers/1"), timeout=7)
    assert 0 < platform.answers.seconds_left < 8
    await client.answers.GetAnswer(answers_pb2.GetAnswerRequest(name="answers/1"))
    assert 50 < platform.answers.seconds_left < 61


@pytest.mark.parametrize("statement", [REVOKE, EXPIRE, SUSPEND], ids=["revoked", "expired", "of a suspended tenant"])
async def test_a_key_that_is_no_longer_valid_ends_within_its_seconds(connect, acme, platform, statement):
    client = await connect(acme.api_key)
    assert await code_of_list(client) is grpc.StatusCode.OK
    await platform.database.change(statement.format(acme.tenant_id))
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    assert await code_of_list(client) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_watch_ends_when_its_key_is_revoked(client, acme, platform):
    name = insert_task(acme)
    await platform.database.change(REVOKE.format(acme.tenant_id))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=name), timeout=5)]
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


CALLS = {
    "tasks.read": lambda client: client.tasks.ListTasks(api.ListTasksRequest()),
    "sources.read": lambda client: client.sources.ListSources(sources_pb2.ListSourcesRequest()),
    "tenants.read": lambda client: client.tenants.GetTenant(tenants_pb2.GetTenantRequest(name="tenants/-")),
    "operator": lambda client: client.tenants.CreateTenant(
        tenants_pb2.CreateTenantRequest(tenant=tenants_pb2.Tenant(slug=f"t-{uuid4().hex[:12]}"))
    ),
}


@pytest.mark.parametrize("scope", CALLS)
async def test_a_key_without_the_scope_may_not(connect, acme, platform, scope):
    others = f"UPDATE tenancy.api_keys SET scopes = array_remove(scopes, '{scope}') WHERE tenant_id = '{{}}'"
    await platform.database.change(others.format(acme.tenant_id))
    client = await connect(acme.api_key)
    with pytest.raises(grpc.aio.AioRpcError, match=scope) as refused:
        await CALLS[scope](client)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert remedy_of(refused.value) == "Use a key that has it."


async def test_a_key_that_may_not_read_sources_is_told_so_when_it_creates_a_task(client, acme, platform, connect):
    statement = "UPDATE tenancy.api_keys SET scopes = '{{tasks.write}}' WHERE tenant_id = '{}'"
    await platform.database.change(statement.format(acme.tenant_id))
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    task = api.Task(instruction="what?", source="sources/small", kinds=[api.TASK_KIND_ANSWER])
    with pytest.raises(grpc.aio.AioRpcError, match=r"sources\.read") as refused:
        await client.tasks.CreateTask(api.CreateTaskRequest(task=task, request_id=str(uuid4())))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_an_operator_reads_no_tenant_s_content(connect, platform):
    operator = await connect(platform.operator_key)
    assert await code_of_list(operator) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "method",
    [
        "/morningai.api.tasks.v1.TaskService/Nothing",
        "/morningai.api.sources.v1.SourceService/Nothing",
        "/morningai.api.nothing.v1.NothingService/Get",
        "/nothing",
    ],
)
async def test_an_unknown_method_is_not_implemented(connect, acme, method):
    client = await connect(acme.api_key)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.channel.unary_unary(method)(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def stream_bundle(search, name):
    return [piece async for piece in search.GetBundle(search_pb2.GetBundleRequest(snapshot=name))]


@pytest.mark.parametrize(
    "call",
    [
        lambda search: search.Search(search_pb2.SearchRequest(snapshot="snapshots/1", query="x")),
        lambda search: search.GetOverview(search_pb2.GetOverviewRequest(snapshot="snapshots/1")),
        lambda search: stream_bundle(search, "snapshots/1"),
    ],
    ids=["Search", "GetOverview", "GetBundle"],
)
async def test_methods_between_services_are_not_forwarded(connect, acme, call):
    client = await connect(acme.api_key, (PROOF_KEY, acme.grant()))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(search_pb2_grpc.SearchServiceStub(client.channel))
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_service_that_is_away_is_unavailable_and_its_address_is_not_told(connect, acme):
    client = await connect(acme.api_key)
    changes = changes_pb2_grpc.ChangeServiceStub(client.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await changes.GetChange(changes_pb2.GetChangeRequest(name="changes/1"), timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason_of(refused.value) == "UNAVAILABLE"
    assert ".sock" not in refused.value.details()
