"""What the door costs whoever comes too often: refusals with a time and a remedy, and few questions to PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import grpc
import psycopg
import pytest

from morningai.api.answers.v1 import answers_pb2
from morningai.api.sources.v1 import sources_pb2
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import identities_pb2, identities_pb2_grpc
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import members_pb2 as members
from morningai.db.session import Database
from morningai.errors import RateLimited, Unauthenticated
from morningai.rpc.call import CallClass, MethodRule
from morningai.rpc.request import MOST_READ_ON_OF_REFUSED_BYTES
from morningai.rpc.status import limit_of, reason_of, remedy_of, retry_seconds_of
from services.gateway.authentication import (
    MOST_UNKNOWN_KEYS_AT_A_TIME,
    MOST_UNKNOWN_TOKENS_AT_A_TIME,
    Authenticator,
)
from services.gateway.key_uses import KeyUses
from services.gateway.limiter import Limiter
from tests.integration.gateway.platform import make_bundle, upload

SET = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', '{}_calls_{}', {})"
READING = MethodRule("/s/List", api.ListTasksRequest, "tasks.read", internal=False, call_class=CallClass.READ)


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


PIECE = b"x" * 64 * 1024
IN_FLIGHT_BYTES = 1024**2


async def pieces_without_end(sent):
    """An upload whose client writes on until it is told to stop."""
    source = sources_pb2.CreateSourceRequest(source_id="endless", source=sources_pb2.Source(repository="small"))
    yield sources_pb2.UploadSourceRequest(source=source)
    while True:
        sent.append(PIECE)
        yield sources_pb2.UploadSourceRequest(piece=PIECE)
        await asyncio.sleep(0.01)


async def test_an_upload_too_many_is_told_the_time_while_its_client_still_writes(connect, acme, platform, bundle):
    limit(platform.database, acme, "upload", per_minute=2, burst=1)
    client = await connect(acme.api_key)
    await upload(client, bundle)
    for _ in range(2):
        sent = []
        error = await refusal(client.sources.UploadSource(pieces_without_end(sent), timeout=10))
        assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED")
        assert limit_of(error) == "upload_calls_per_minute"
        assert 20 < retry_seconds_of(error) <= 30
        assert sum(map(len, sent)) <= MOST_READ_ON_OF_REFUSED_BYTES + IN_FLIGHT_BYTES
    assert stores_of(platform, acme) == ["small"]


QUOTA = "INSERT INTO tenancy.limits (tenant_id, name, operator_value) VALUES ('{}', '{}', {})"


def create_task(client, request_id):
    task = api.Task(instruction="what?", source="sources/small", kinds=[api.TASK_KIND_ANSWER])
    return client.tasks.CreateTask(api.CreateTaskRequest(task=task, request_id=request_id))


async def test_a_task_above_the_quota_is_refused_and_a_repeated_request_is_not(client, acme, platform):
    await platform.database.change(QUOTA.format(acme.tenant_id, "active_tasks", 1))
    request_id = str(uuid4())
    task = await create_task(client, request_id)
    error = await refusal(create_task(client, str(uuid4())))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert (limit_of(error), retry_seconds_of(error)) == ("active_tasks", None)
    assert remedy_of(error) == "Wait until a task has ended, or cancel one. An operator can raise the quota."
    assert (await create_task(client, request_id)).name == task.name


def create_key(client):
    key = keys.ApiKey(display_name="CI", scopes=["tasks.read"])
    return client.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=key))


def invite(client):
    invitation = members.Invitation(role=members.MEMBER_ROLE_VIEWER)
    return client.members.InviteMember(members.InviteMemberRequest(invitation=invitation))


@pytest.mark.parametrize(
    ("quota", "call", "remedy"),
    [
        ("api_keys", create_key, "Revoke a key that is no longer used."),
        ("open_invitations", invite, "Revoke an invitation, or wait until one is accepted or expires."),
    ],
)
async def test_a_key_or_an_invitation_above_the_quota_is_refused(connect, acme, platform, quota, call, remedy):
    await platform.database.change(QUOTA.format(acme.tenant_id, quota, 2))
    client = await connect(acme.api_key)
    for _ in range({"api_keys": 1, "open_invitations": 2}[quota]):
        await call(client)
    error = await refusal(call(client))
    assert (error.code(), reason_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "QUOTA_EXCEEDED")
    assert (limit_of(error), remedy_of(error)) == (quota, f"{remedy} An operator can raise the quota.")
    query = "SELECT action FROM tenancy.audit_log WHERE tenant_id = %s AND outcome = 'refused'"
    assert len(platform.database.rows(query, acme.tenant_id)) == 1


@pytest.mark.parametrize("quota", ["sources", "storage_bytes"])
async def test_an_upload_above_the_quota_is_refused(client, acme, platform, bundle, tmp_path, quota):
    await platform.database.change(QUOTA.format(acme.tenant_id, quota, 1))
    again = {"sources": bundle, "storage_bytes": await make_bundle(tmp_path, "# Another")}[quota]
    error = await refusal(upload(client, again, source_id="another"))
    assert (error.code(), limit_of(error)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, quota)


@pytest.mark.parametrize("quota", ["sources", "storage_bytes"])
async def test_a_refused_upload_leaves_nothing_on_disk(client, acme, platform, tmp_path, quota):
    fill_quota(platform, acme, quota)
    another = await make_bundle(tmp_path, "# Another")
    for number in range(3):
        await refusal(upload(client, another, source_id=f"fresh-{number}"))
    assert stores_of(platform, acme) == ["small"]


async def test_a_refused_upload_adds_nothing_to_a_source_that_was_there(client, acme, platform, tmp_path):
    fill_quota(platform, acme, "storage_bytes")
    before = files_of(platform, acme)
    error = await refusal(upload(client, await make_bundle(tmp_path, "# Another")))
    assert (limit_of(error), files_of(platform, acme)) == ("storage_bytes", before)


async def test_an_upload_for_which_there_is_no_source_left_is_refused_before_it_is_received(client, acme, platform):
    fill_quota(platform, acme, "sources")
    error = await refusal(upload(client, b"", source_id="another"))
    assert limit_of(error) == "sources"


async def test_an_upload_to_a_remote_source_leaves_nothing_on_disk(client, acme, platform, bundle):
    insert = "INSERT INTO docs.sources (tenant_id, source_id, kind, repository, remote_uri, revision, commit)"
    uri = "https://example.org/r"
    await platform.database.change(
        f"{insert} VALUES ('{acme.tenant_id}', 'distant', 'remote', '{uri}', '{uri}', 'HEAD', '')"
    )
    error = await refusal(upload(client, bundle, source_id="distant"))
    assert (error.code(), stores_of(platform, acme)) == (grpc.StatusCode.ALREADY_EXISTS, ["small"])


@pytest.mark.parametrize("quota", ["sources", "storage_bytes"])
async def test_at_the_quota_the_same_upload_is_still_taken(client, acme, platform, bundle, quota):
    fill_quota(platform, acme, quota)
    assert (await upload(client, bundle)).name == "sources/small"


def fill_quota(platform, tenant, quota):
    """One source with what it stores is all that the tenant may have."""
    stored = platform.database.rows("SELECT size_bytes FROM docs.storage WHERE tenant_id = %s", tenant.tenant_id)
    most = {"sources": 1, "storage_bytes": stored[0][0]}[quota]
    platform.database.execute(QUOTA.format(tenant.tenant_id, quota, most))


def stores_of(platform, tenant):
    return sorted(store.name for store in (platform.folder / "docs" / "git" / str(tenant.tenant_id)).iterdir())


def files_of(platform, tenant):
    return sorted((platform.folder / "docs" / "git" / str(tenant.tenant_id)).rglob("*"))


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
    await database.change("UPDATE tenancy.limits SET operator_value = 1000")
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


class CountingIdentities(identities_pb2_grpc.IdentityServiceServicer):
    """Refuses every token but "good.x.y", after a moment."""

    running = most = 0

    async def ExchangeToken(self, request, context):
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0.01)
        self.running -= 1
        if request.token != "good.x.y":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "The token is not valid.")
        answer = identities_pb2.ExchangeTokenResponse(grant="a grant")
        answer.expire_time.FromSeconds(int(time.time()) + 60)
        return answer


@pytest.fixture
async def identities(tmp_path):
    server, counted = grpc.aio.server(), CountingIdentities()
    identities_pb2_grpc.add_IdentityServiceServicer_to_server(counted, server)
    server.add_insecure_port(f"unix:{tmp_path}/t.sock")
    await server.start()
    yield counted
    await server.stop(None)


@pytest.fixture
async def make_door(counting, identities, tmp_path):
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/t.sock") as tenancy:
        uses = KeyUses(counting, write_seconds=60)
        yield lambda cache_seconds: Authenticator(counting, uses, tenancy, cache_seconds=cache_seconds)


async def test_a_bad_key_that_comes_again_is_not_looked_up_again(counting, make_door):
    door = make_door(cache_seconds=60)
    found = await outcomes(door.prove(CallWith("mk_x.wrong")) for _ in range(500))
    assert set(found) == {Unauthenticated}
    assert counting.asked <= MOST_UNKNOWN_KEYS_AT_A_TIME


async def test_few_unknown_keys_are_looked_up_at_a_time(counting, make_door):
    door = make_door(cache_seconds=60)
    found = await outcomes(door.prove(CallWith(f"mk_{number}.wrong")) for number in range(200))
    assert set(found) == {Unauthenticated}
    assert (counting.asked, counting.most) == (200, MOST_UNKNOWN_KEYS_AT_A_TIME)


async def test_a_good_key_is_not_refused_for_the_bad_ones(make_door, tenant):
    door = make_door(cache_seconds=60)
    bad = [door.prove(CallWith(f"mk_{number}.wrong")) for number in range(200)]
    found = await asyncio.gather(*bad, door.prove(CallWith(tenant.api_key)), return_exceptions=True)
    assert found[-1].split("|")[2] == str(tenant.tenant_id)


async def test_a_refused_key_is_asked_about_again_after_its_seconds(make_door, database, tenant):
    door = make_door(cache_seconds=0.2)
    await database.change("UPDATE tenancy.tenants SET state = 'suspended'")
    with pytest.raises(Unauthenticated):
        await door.prove(CallWith(tenant.api_key))
    await database.change("UPDATE tenancy.tenants SET state = 'active'")
    await asyncio.sleep(0.25)
    assert await door.prove(CallWith(tenant.api_key))


async def test_few_unknown_tokens_are_looked_up_at_a_time_and_hold_up_no_key(make_door, identities, tenant):
    door = make_door(cache_seconds=60)
    bad = [door.prove(CallWith(f"{number}.x.y")) for number in range(100)]
    found = await asyncio.gather(*bad, door.prove(CallWith(tenant.api_key)), return_exceptions=True)
    assert {type(one) for one in found[:-1]} == {Unauthenticated}
    assert found[-1].split("|")[2] == str(tenant.tenant_id)
    assert identities.most == MOST_UNKNOWN_TOKENS_AT_A_TIME


async def test_a_token_is_exchanged_once_in_its_seconds(make_door, identities):
    door = make_door(cache_seconds=60)
    assert {await door.prove(CallWith("good.x.y")) for _ in range(2)} == {"a grant"}
    assert door.known_grant(CallWith("good.x.y").invocation_metadata()) == "a grant"
    assert door.known_grant(CallWith("other.x.y").invocation_metadata()) is None
