"""What the door costs whoever comes too often: refusals with a time and a remedy, and few questions to PostgreSQL."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import grpc
import psycopg
import pytest
from google.protobuf.message import Message

from morningai.api.answers.v1 import answers_pb2
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.db.session import Database
from morningai.errors import RateLimited, Unauthenticated
from morningai.rpc.call import CallClass, MethodRule
from morningai.rpc.status import limit_of, reason_of, remedy_of, retry_seconds_of
from services.gateway.authentication import MOST_UNKNOWN_KEYS_AT_A_TIME, Authenticator
from services.gateway.key_uses import KeyUses
from services.gateway.limiter import Limiter
from tests.integration.gateway.platform import make_bundle, upload

SET = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', '{}_calls_{}', {})"
READING = MethodRule("/s/List", Message, "tasks.read", internal=False, call_class=CallClass.READ)


def limit(database, tenant, call_class, *, per_minute, burst):
    database.execute(SET.format(tenant.tenant_id, call_class, "per_minute", per_minute))
    database.execute(SET.format(tenant.tenant_id, call_class, "burst", burst))


async def refusal(call):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value


def list_tasks(client):
    return client.tasks.ListTasks(api.ListTasksRequest())


def get_answer(client):
    return client.answers.GetAnswer(answers_pb2.GetAnswerRequest(name="answers/1"))


@pytest.mark.parametrize("call", [list_tasks, get_answer], ids=["the gateway's own", "a forwarded one"])
async def test_a_call_too_many_is_told_the_limit_the_time_and_the_remedy(connect, acme, platform, call):
    limit(platform.database, acme, "read", per_minute=2, burst=3)
    client = await connect(acme.api_key)
    for _ in range(3):
        await call(client)
    for error in [await refusal(call(client)) for _ in range(3)]:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert (reason_of(error), limit_of(error)) == ("RATE_LIMITED", "read_calls_per_minute")
        assert remedy_of(error) == "Wait as long as the answer says; an operator can raise the limit."
        assert 20 < retry_seconds_of(error) <= 30


async def test_after_the_time_it_was_told_a_call_is_admitted(connect, acme, platform):
    limit(platform.database, acme, "read", per_minute=60, burst=1)
    client = await connect(acme.api_key)
    await list_tasks(client)
    seconds = retry_seconds_of(await refusal(list_tasks(client)))
    await asyncio.sleep(seconds + 0.01)
    await list_tasks(client)


async def test_each_class_of_calls_and_each_tenant_has_its_own_limit(connect, acme, new_tenant, platform):
    limit(platform.database, acme, "read", per_minute=1, burst=1)
    client, other = await connect(acme.api_key), await connect(new_tenant().api_key)
    await list_tasks(client)
    await refusal(list_tasks(client))
    await list_tasks(other)
    watch = client.tasks.WatchTask(api.WatchTaskRequest(name="tasks/x"), timeout=5)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        [event async for event in watch]
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_watch_is_one_call_however_long_it_lasts(connect, acme, platform):
    limit(platform.database, acme, "watch", per_minute=1, burst=1)
    client = await connect(acme.api_key)
    watching = api.WatchTaskRequest(name="tasks/x")
    codes = []
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [event async for event in client.tasks.WatchTask(watching, timeout=5)]
        codes.append(refused.value.code())
    assert codes == [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED]


QUOTA = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', '{}', {})"


def create_task(client, request_id):
    task = api.Task(instruction="what?", source="sources/small", kinds=[api.TASK_KIND_ANSWER])
    return client.tasks.CreateTask(api.CreateTaskRequest(task=task, request_id=request_id))


async def test_a_task_above_the_quota_is_refused_and_a_repeated_request_is_not(client, acme, platform):
    platform.database.execute(QUOTA.format(acme.tenant_id, "active_tasks", 1))
    request_id = str(uuid4())
    task = await create_task(client, request_id)
    error = await refusal(create_task(client, str(uuid4())))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert (limit_of(error), retry_seconds_of(error)) == ("active_tasks", None)
    assert remedy_of(error) == "Wait until a task has ended, or cancel one. An operator can raise the quota."
    assert (await create_task(client, request_id)).name == task.name


@pytest.mark.parametrize("quota", ["sources", "storage_bytes"])
async def test_an_upload_above_the_quota_is_refused(client, acme, platform, bundle, tmp_path, quota):
    platform.database.execute(QUOTA.format(acme.tenant_id, quota, 1))
    again = {"sources": bundle, "storage_bytes": await make_bundle(tmp_path, "# Another")}[quota]
    error = await refusal(upload(client, again, source_id="another"))
    assert (error.code(), limit_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, quota)


class CountingDatabase(Database):
    """Counts what is asked, and how much of it at a time."""

    asked = running = most = 0

    async def decide(self, query, parameters):
        async with self._counted():
            return await super().decide(query, parameters)

    @asynccontextmanager
    async def connection(self):
        async with self._counted(), super().connection() as connection:
            yield connection

    @asynccontextmanager
    async def _counted(self):
        self.asked += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            yield
        finally:
            self.running -= 1


@pytest.fixture
async def counting(database):
    counted = CountingDatabase(database.dsn("gateway_app"))
    await counted.open()
    yield counted
    await counted.close()


async def outcomes(calls):
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [type(result) for result in results]


async def test_a_flood_is_admitted_the_burst_and_asks_once_more(counting, database, tenant):
    limit(database, tenant, "read", per_minute=1, burst=5)
    limiter, grant = Limiter(counting), tenant.grant()
    found = await outcomes(limiter.admit(grant, READING) for _ in range(1000))
    assert (found.count(type(None)), found.count(RateLimited)) == (5, 995)
    assert (counting.asked, counting.most) == (6, 1)


async def test_two_replicas_admit_the_burst_together(counting, database, tenant):
    limit(database, tenant, "read", per_minute=1, burst=50)
    replicas, grant = (Limiter(counting), Limiter(counting)), tenant.grant()
    found = await outcomes(limiter.admit(grant, READING) for _ in range(100) for limiter in replicas)
    assert (found.count(type(None)), found.count(RateLimited)) == (50, 150)


async def test_a_raised_limit_holds_within_a_second(counting, database, tenant):
    limit(database, tenant, "read", per_minute=1, burst=1)
    limiter, grant = Limiter(counting), tenant.grant()
    await outcomes(limiter.admit(grant, READING) for _ in range(2))
    database.execute("UPDATE tenancy.limits SET operator_value = 1000")
    with pytest.raises(RateLimited):
        await limiter.admit(grant, READING)
    await asyncio.sleep(1.01)
    await limiter.admit(grant, READING)


async def test_two_keys_of_a_tenant_share_its_limit(counting, database, tenant):
    limit(database, tenant, "read", per_minute=1, burst=1)
    with psycopg.connect(database.admin_dsn) as connection:
        mint = "SELECT kernel.mint_grant(%s, 'key:mk_other', ARRAY['tasks.read'])"
        other = connection.execute(mint, (tenant.tenant_id,)).fetchone()[0]
    limiter = Limiter(counting)
    assert await outcomes([limiter.admit(tenant.grant(), READING), limiter.admit(other, READING)]) == [
        type(None),
        RateLimited,
    ]


@dataclass(frozen=True)
class CallWith:
    key: str

    def invocation_metadata(self):
        return (("authorization", f"Bearer {self.key}"),)


def door_of(database, *, cache_seconds):
    """For keys alone: nobody exchanges tokens."""
    uses = KeyUses(database, write_seconds=60)
    return Authenticator(database, uses, grpc.aio.insecure_channel("unix:/nowhere"), cache_seconds=cache_seconds)


async def test_a_bad_key_that_comes_again_is_not_looked_up_again(counting):
    door = door_of(counting, cache_seconds=60)
    found = await outcomes(door.prove(CallWith("mk_x.wrong")) for _ in range(500))
    assert set(found) == {Unauthenticated}
    assert counting.asked <= MOST_UNKNOWN_KEYS_AT_A_TIME


async def test_few_unknown_keys_are_looked_up_at_a_time(counting):
    door = door_of(counting, cache_seconds=60)
    found = await outcomes(door.prove(CallWith(f"mk_{number}.wrong")) for number in range(200))
    assert set(found) == {Unauthenticated}
    assert (counting.asked, counting.most) == (200, MOST_UNKNOWN_KEYS_AT_A_TIME)


async def test_a_good_key_is_not_refused_for_the_bad_ones(counting, tenant):
    door = door_of(counting, cache_seconds=60)
    bad = [door.prove(CallWith(f"mk_{number}.wrong")) for number in range(200)]
    found = await asyncio.gather(*bad, door.prove(CallWith(tenant.api_key)), return_exceptions=True)
    assert found[-1].split("|")[2] == str(tenant.tenant_id)


async def test_a_refused_key_is_asked_about_again_after_its_seconds(counting, database, tenant):
    door = door_of(counting, cache_seconds=0.2)
    database.execute("UPDATE tenancy.tenants SET state = 'suspended'")
    with pytest.raises(Unauthenticated):
        await door.prove(CallWith(tenant.api_key))
    database.execute("UPDATE tenancy.tenants SET state = 'active'")
    await asyncio.sleep(0.25)
    assert await door.prove(CallWith(tenant.api_key))
