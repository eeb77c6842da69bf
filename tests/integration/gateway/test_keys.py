"""ApiKeyService behind the gateway: made, rotated and revoked keys, and what they open from then on."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import keys_pb2 as api
from morningai.rpc.status import remedy_of
from tests.integration.gateway.platform import KEY_CACHE_SECONDS

READER = ["tasks.read"]


def later(**delta):
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) + timedelta(**delta))
    return stamp


def new_key(scopes=READER, display_name="CI", **fields):
    return api.CreateApiKeyRequest(api_key=api.ApiKey(display_name=display_name, scopes=scopes, **fields))


async def code_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def lists(client):
    return code_of(client.tasks.ListTasks(tasks.ListTasksRequest(), timeout=10))


@pytest.fixture
async def owner(connect, acme):
    return await connect(acme.api_key)


async def test_a_new_key_opens_what_its_scopes_say_and_no_more(owner, connect, acme):
    made = await owner.keys.CreateApiKey(new_key())
    client = await connect(made.key)
    assert await lists(client) is grpc.StatusCode.OK
    assert await code_of(client.keys.ListApiKeys(api.ListApiKeysRequest())) is grpc.StatusCode.PERMISSION_DENIED
    assert made.api_key.creator == f"key:{acme.api_key.partition('.')[0]}"


async def test_a_key_cannot_be_given_a_scope_that_its_creator_lacks(owner, connect):
    manager = await connect((await owner.keys.CreateApiKey(new_key(["keys.write", "tasks.read"]))).key)
    assert await code_of(manager.keys.CreateApiKey(new_key())) is grpc.StatusCode.OK
    with pytest.raises(grpc.aio.AioRpcError, match=r"sources\.write") as refused:
        await manager.keys.CreateApiKey(new_key(["tasks.read", "sources.write"]))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_key_that_may_do_more_cannot_be_rotated_to_take_it_over(owner, connect, acme):
    manager = await connect((await owner.keys.CreateApiKey(new_key(["keys.write"]))).key)
    first = f"apiKeys/{acme.api_key.partition('.')[0]}"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await manager.keys.RotateApiKey(api.RotateApiKeyRequest(name=first))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert await lists(owner) is grpc.StatusCode.OK


async def test_a_key_ends_at_its_expiry(owner, connect):
    made = await owner.keys.CreateApiKey(new_key(expire_time=later(seconds=1)))
    client = await connect(made.key)
    assert await lists(client) is grpc.StatusCode.OK
    await asyncio.sleep(1.1 + KEY_CACHE_SECONDS)
    assert await lists(client) is grpc.StatusCode.UNAUTHENTICATED


async def test_both_secrets_are_valid_during_the_overlap_and_the_new_one_alone_after_it(owner, connect):
    made = await owner.keys.CreateApiKey(new_key())
    request = api.RotateApiKeyRequest(name=made.api_key.name, overlap=Duration(seconds=2))
    rotated = await owner.keys.RotateApiKey(request)
    old, new = await connect(made.key), await connect(rotated.key)
    assert rotated.key != made.key
    assert [await lists(old), await lists(new)] == [grpc.StatusCode.OK] * 2
    await asyncio.sleep(2.1 + KEY_CACHE_SECONDS)
    assert [await lists(old), await lists(new)] == [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK]


async def test_the_overlap_is_an_hour_unless_said_otherwise(owner):
    made = await owner.keys.CreateApiKey(new_key())
    rotated = await owner.keys.RotateApiKey(api.RotateApiKeyRequest(name=made.api_key.name))
    until = rotated.api_key.previous_secret_expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(minutes=59) < until <= timedelta(hours=1)


async def test_without_an_overlap_the_old_secret_ends_at_once(owner, connect):
    made = await owner.keys.CreateApiKey(new_key())
    await owner.keys.RotateApiKey(api.RotateApiKeyRequest(name=made.api_key.name, overlap=Duration()))
    assert await lists(await connect(made.key)) is grpc.StatusCode.UNAUTHENTICATED


async def test_a_second_rotation_ends_the_oldest_secret(owner, connect):
    made = await owner.keys.CreateApiKey(new_key())
    request = api.RotateApiKeyRequest(name=made.api_key.name)
    second, third = await owner.keys.RotateApiKey(request), await owner.keys.RotateApiKey(request)
    codes = [await lists(await connect(key)) for key in (made.key, second.key, third.key)]
    assert codes == [grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.OK, grpc.StatusCode.OK]


async def test_a_revoked_key_ends_within_its_seconds_with_both_secrets(owner, connect):
    made = await owner.keys.CreateApiKey(new_key())
    rotated = await owner.keys.RotateApiKey(api.RotateApiKeyRequest(name=made.api_key.name))
    clients = [await connect(made.key), await connect(rotated.key)]
    assert [await lists(client) for client in clients] == [grpc.StatusCode.OK] * 2
    revoked = await owner.keys.RevokeApiKey(api.RevokeApiKeyRequest(name=made.api_key.name))
    assert revoked.HasField("revoke_time")
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    assert [await lists(client) for client in clients] == [grpc.StatusCode.UNAUTHENTICATED] * 2


async def test_a_running_watch_ends_when_its_key_is_revoked(client, owner, connect):
    made = await owner.keys.CreateApiKey(new_key())
    watcher = await connect(made.key)
    task = tasks.Task(instruction="what?", source="sources/small", kinds=[tasks.TASK_KIND_ANSWER])
    created = await client.tasks.CreateTask(tasks.CreateTaskRequest(task=task, request_id=str(uuid4())))
    watch = watcher.tasks.WatchTask(tasks.WatchTaskRequest(name=created.name), timeout=60)
    assert (await watch.read()).sequence == 1
    await owner.keys.RevokeApiKey(api.RevokeApiKeyRequest(name=made.api_key.name))
    began = asyncio.get_running_loop().time()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        [event async for event in watch]
    assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert asyncio.get_running_loop().time() - began < KEY_CACHE_SECONDS + 1.5


async def test_revoking_twice_keeps_the_first_time_and_writes_one_entry(owner, platform, acme):
    made = await owner.keys.CreateApiKey(new_key())
    request = api.RevokeApiKeyRequest(name=made.api_key.name)
    first, second = await owner.keys.RevokeApiKey(request), await owner.keys.RevokeApiKey(request)
    assert first.revoke_time == second.revoke_time
    query = "SELECT count(*) FROM tenancy.audit_log WHERE tenant_id = %s AND action = 'keys.revoke'"
    assert platform.database.rows(query, acme.tenant_id) == [(1,)]


async def test_a_revoked_key_is_not_rotated_back_to_life(owner, connect):
    made = await owner.keys.CreateApiKey(new_key())
    await owner.keys.RevokeApiKey(api.RevokeApiKeyRequest(name=made.api_key.name))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await owner.keys.RotateApiKey(api.RotateApiKeyRequest(name=made.api_key.name))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert remedy_of(refused.value) == "Create a new key."


async def test_keys_are_listed_newest_first_in_pages_without_their_secrets(owner, acme):
    made = [await owner.keys.CreateApiKey(new_key(display_name=f"key {number}")) for number in range(4)]
    first = await owner.keys.ListApiKeys(api.ListApiKeysRequest(page_size=2))
    second = await owner.keys.ListApiKeys(api.ListApiKeysRequest(page_size=2, page_token=first.next_page_token))
    third = await owner.keys.ListApiKeys(api.ListApiKeysRequest(page_size=2, page_token=second.next_page_token))
    names = [key.name for page in (first, second, third) for key in page.api_keys]
    assert names == [*(one.api_key.name for one in reversed(made)), f"apiKeys/{acme.api_key.partition('.')[0]}"]
    assert third.next_page_token == ""
    secrets = [one.key.partition(".")[2] for one in made]
    assert [secret for secret in secrets if secret in str((first, second, third))] == []


@pytest.mark.parametrize("method", ["GetApiKey", "RotateApiKey", "RevokeApiKey"])
async def test_another_tenant_s_key_does_not_exist(owner, connect, new_tenant, method):
    other = new_tenant()
    request = getattr(api, f"{method}Request")(name=f"apiKeys/{other.api_key.partition('.')[0]}")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await getattr(owner.keys, method)(request)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert await lists(await connect(other.api_key)) is grpc.StatusCode.OK


async def test_the_last_use_of_a_key_is_shown_soon_after_it(owner, connect):
    made = await owner.keys.CreateApiKey(new_key())
    assert not made.api_key.HasField("last_used_time")
    await lists(await connect(made.key))
    await asyncio.sleep(1)
    found = await owner.keys.GetApiKey(api.GetApiKeyRequest(name=made.api_key.name))
    assert abs(found.last_used_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)) < timedelta(seconds=10)
