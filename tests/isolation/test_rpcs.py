"""Every public RPC under every credential that is not the right one, with another tenant's names in every field.

The RPCs come from the descriptors and the names from what the other tenant is told itself, so a new RPC is tried
without a word here. A refusal counts only where the owner of the name, who makes the same call afterwards, is served.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message

from morningai.api.options.v1 import options_pb2 as options
from morningai.api.schedules.v1 import schedules_pb2 as schedules
from morningai.api.sources.v1 import sources_pb2 as sources
from morningai.api.subscriptions.v1 import subscriptions_pb2 as subscriptions
from morningai.api.tasks.v1 import tasks_pb2 as api
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import members_pb2 as members
from morningai.api.tenants.v1 import models_pb2 as models
from morningai.api.tenants.v1 import policies_pb2 as policies
from morningai.bus.permissions import SERVICES
from morningai.rpc import call as rpc_call
from morningai.rpc.call import PROOF_KEY, Context, UndeclaredScope
from morningai.rpc.server import RpcServer, metadata_value
from services.gateway.app import OWN
from services.gateway.authentication import Authenticator
from tests.conftest import TestDatabase, TestTenant, clone, eventually, running_nats
from tests.integration.gateway.door import OTHERS, open_door
from tests.integration.gateway.platform import (
    Client,
    Platform,
    bearer,
    connected,
    make_bundle,
    new_task,
    running_platform,
    upload,
)
from tests.isolation import rpcs
from tests.isolation.rpcs import INTERNAL, PUBLIC, RPCS, Outcome, Rpc, names_in, outcome_of

REFUSED = {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.PERMISSION_DENIED}
BROKEN = {
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    # No call is refused for those before it.
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
SCOPES = sorted({rpc.scope for rpc in PUBLIC.values()} - {"operator"})
CANARY = "canary-of-bravo"
REMOTE = "remote-of-bravo"
README = f"""# Canary of bravo

The {CANARY} is a service that keeps prices. It answers over HTTP.

## How to install it

Run `make install` on the machine where the {CANARY} is to serve. It needs Python 3.11.

## How a price is computed

A price is the sum of its parts. The {CANARY} rounds it to cents, and adds the tax of the country.
"""
KINDS = [api.TASK_KIND_ANSWER, api.TASK_KIND_FAQ, api.TASK_KIND_DOCUMENT]
TENANT_TABLES = """
SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid
WHERE c.relkind = 'r' AND a.attname = 'tenant_id' AND NOT a.attisdropped ORDER BY 1
"""
UNHURRIED = """
INSERT INTO tenancy.limits (tenant_id, name, operator_value)
SELECT '{}', name, 1000000 FROM tenancy.default_limits WHERE name ~ '_calls_(per_minute|burst)$'
"""
BURY = """
INSERT INTO orchestrator.dead_letters
  (tenant_id, message_id, consumer, type, subject, headers, body, reason, error, deliveries, trace_id)
VALUES (%s, %s, 'orchestrator-requests', 't', 's', '{}', '', 'r', %s, 1, '') RETURNING consumer || '.' || message_id
"""
# Every tenant has its own of this name; that those of another stay is seen in its rows.
NAMES_OF_ALL = {"modelEndpoints/change"}
NO_TENANT = ("morningai-tenant", "-")
GET_DOCUMENT = "/morningai.api.documents.v1.DocumentService/GetDocument"
EXCHANGE_TOKEN = "/morningai.api.tenants.v1.IdentityService/ExchangeToken"
AT_A_TIME = 8
OF_A_KIND = 5
PROOF = "grant as a proof"


@dataclass
class World:
    """All six services; bravo owns what alpha tries to reach."""

    platform: Platform
    folder: Path
    alpha: TestTenant
    bravo: TestTenant
    names: list[str]
    tried: dict[str, dict[str, Outcome]] = field(default_factory=dict)
    served: dict[str, set[str]] = field(default_factory=dict)

    @property
    def database(self) -> TestDatabase:
        return self.platform.database


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(postgres_server) -> AsyncIterator[World]:
    """Alpha has made all of its calls, and after it bravo the same ones."""
    async with platform_of(postgres_server) as (platform, folder):
        alpha, bravo = tenant_with(platform.database, SCOPES), tenant_with(platform.database, SCOPES)
        names = await make_resources(platform, bravo, folder)
        world = World(platform, folder, alpha, bravo, names)
        await eventually(lambda: nothing_is_posted(platform.database))
        before = rows_of(world)
        async with connected(platform.address, bearer(alpha.api_key)) as client:
            world.tried = {path: await outcomes(client, rpc, names) for path, rpc in PUBLIC.items()}
        assert rows_of(world) == before, "alpha changed rows of bravo"
        async with connected(platform.address, bearer(bravo.api_key)) as client:
            for path, rpc in sorted(PUBLIC.items(), key=lambda item: item[1].rank):
                made = await outcomes(client, rpc, names)
                world.served[path] = {name for name, outcome in made.items() if outcome.code is grpc.StatusCode.OK}
        yield world


def nothing_is_posted(database: TestDatabase) -> bool:
    """Nobody listens at the endpoint: the next tries are put off, and those under way have ended."""
    database.execute("UPDATE gateway.webhook_deliveries SET due_at = now() + interval '1 day' WHERE claim_id IS NULL")
    return not database.rows("SELECT 1 FROM gateway.webhook_deliveries WHERE claim_id IS NOT NULL")


@asynccontextmanager
async def platform_of(postgres_server) -> AsyncIterator[tuple[Platform, Path]]:
    with (
        tempfile.TemporaryDirectory(prefix="rp") as made,
        clone(postgres_server) as database,
    ):
        folder = Path(made)
        async with running_nats(folder) as nats_url:
            with running_platform(database, nats_url, folder, services=SERVICES) as platform:
                yield platform, folder


def tenant_with(database: TestDatabase, scopes: list[str], change: str = "") -> TestTenant:
    """A tenant whose only key has these scopes, and what `change` sets; no rate limit refuses a call for another."""
    tenant = database.create_tenant(f"t-{uuid4().hex[:12]}")
    granted = "{" + ",".join(scopes) + "}"
    database.execute(
        f"UPDATE tenancy.api_keys SET scopes = '{granted}' {change} WHERE tenant_id = '{tenant.tenant_id}'"
    )
    database.execute(UNHURRIED.format(tenant.tenant_id))
    return tenant


async def make_resources(platform: Platform, owner: TestTenant, folder: Path) -> list[str]:
    """By the real services: a source, a task of every kind that needs no model with deliveries of its events, a key, a
    member, an invitation, and whatever any RPC creates when it is given those. Returns every name that the owner is
    ever told."""
    async with connected(platform.address, bearer(owner.api_key)) as client:
        administered = await administer(platform, client)
        await upload(client, await make_bundle(folder, README), source_id=CANARY)
        task = await client.tasks.CreateTask(new_task(instruction=CANARY, source=f"sources/{CANARY}", kinds=KINDS))
        administered.append(await client.schedules.CreateSchedule(once_a_year()))
        names = {task.name, task.trace_id, f"sources/{CANARY}", f"tenants/{owner.tenant_id}", "tenants/-"}
        watched = [event async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=task.name), timeout=60)]
        names |= names_in([*administered, *watched])
        for wanted in (lambda rpc: rpc.creates, lambda rpc: rpc.reads, lambda rpc: rpc.reads):
            names |= await told(client, [rpc for rpc in PUBLIC.values() if wanted(rpc)], names)
        names |= names_in([await waiting_approval(client)])
        await end_tasks(client)
    return representatives(names - {"tenants/-"}) + buried(platform.database, owner)


def once_a_year() -> schedules.CreateScheduleRequest:
    """It does not fire while the tests run, and changes nothing by itself."""
    task = new_task(instruction=CANARY, source=f"sources/{CANARY}").task
    months_from_now = 1 + (datetime.now(UTC).month + 5) % 12
    cron = schedules.CronTrigger(expression=f"0 0 1 {months_from_now} *")
    wanted = schedules.Schedule(display_name=CANARY, task=task, cron=cron)
    return schedules.CreateScheduleRequest(schedule=wanted, request_id=str(uuid4()))


def buried(database: TestDatabase, owner: TestTenant) -> list[str]:
    """A dead letter that can be delivered again, and one that its sender has forgotten; by their names."""
    sent = database.rows("SELECT id FROM gateway.outbox WHERE tenant_id = %s LIMIT 1", owner.tenant_id)[0][0]
    database.rows("DELETE FROM orchestrator.inbox WHERE message_id = %s RETURNING 1", sent)
    return [
        f"deadLetters/{database.rows(BURY, owner.tenant_id, message_id, CANARY)[0][0]}"
        for message_id in (sent, uuid4())
    ]


async def waiting_approval(client: Client) -> Message:
    """What a task waits for; its owner may decide it, so that they are served."""
    policy = policies.ApprovalPolicy(publishing=True, self_approval=True)
    await client.policies.SetApprovalPolicy(policies.SetApprovalPolicyRequest(approval_policy=policy))
    wanted = new_task(instruction=CANARY, source=f"sources/{CANARY}", kinds=[api.TASK_KIND_DOCUMENT])
    task = await client.tasks.CreateTask(wanted)
    async for event in client.tasks.WatchTask(api.WatchTaskRequest(name=task.name), timeout=60):
        if event.HasField("approval"):
            return event.approval
    raise AssertionError("the task asked for no approval")


def representatives(names: set[str]) -> list[str]:
    """Of each kind of name, as its form tells it, a few: a task has tens of events, and they are all alike."""
    kept: dict[str, list[str]] = {}
    for name in sorted(names):
        kept.setdefault(re.sub(r"[0-9a-f]{2,}", "0", name), []).append(name)
    return sorted(name for alike in kept.values() for name in alike[:OF_A_KIND])


async def administer(platform: Platform, client: Client) -> list[Message]:
    """What is answered; nobody listens at the endpoint, and nothing is fetched from the remote."""
    endpoint = subscriptions.WebhookEndpoint(url="http://127.0.0.1:9/")
    wanted = subscriptions.CreateWebhookEndpointRequest(webhook_endpoint=endpoint)
    key = keys.CreateApiKeyRequest(api_key=keys.ApiKey(display_name=CANARY, scopes=["tasks.read"]))
    invitation = members.InviteMemberRequest(invitation=members.Invitation(role=members.MEMBER_ROLE_VIEWER))
    accepted = await client.members.InviteMember(invitation)
    async with connected(platform.address, bearer(platform.identities.token()), NO_TENANT) as invited:
        member = await invited.members.AcceptInvitation(members.AcceptInvitationRequest(token=accepted.token))
    remote = sources.CreateSourceRequest(
        source_id=REMOTE, source=sources.Source(remote_uri=f"https://8.8.8.8/{REMOTE}")
    )
    source = await client.sources.CreateSource(remote)
    credential = sources.SetSourceCredentialRequest(name=source.name, token=CANARY)
    # None of its tasks is of this kind.
    own = models.ModelEndpoint(name="modelEndpoints/change", base_url=f"https://8.8.8.8/{CANARY}", model=CANARY)
    return [
        await client.models.SetModelEndpoint(models.SetModelEndpointRequest(model_endpoint=own, api_key=CANARY)),
        await client.sources.SetSourceCredential(credential),
        (await client.subscriptions.CreateWebhookEndpoint(wanted)).webhook_endpoint,
        (await client.keys.CreateApiKey(key)).api_key,
        (await client.members.InviteMember(invitation)).invitation,
        member,
    ]


async def told(client: Client, rpcs: list[Rpc], names: set[str]) -> set[str]:
    found: set[str] = set()
    for rpc in rpcs:
        for outcome in (await outcomes(client, rpc, sorted(names))).values():
            found |= names_in(map(rpc.response_of, outcome.responses))
    return found


async def end_tasks(client: Client) -> None:
    """Nothing of the owner changes by itself after this."""
    listed = await client.tasks.ListTasks(api.ListTasksRequest(page_size=500))
    for task in (task for task in listed.tasks if task.state != api.TASK_STATE_WAITING_FOR_APPROVAL):
        async for _ in client.tasks.WatchTask(api.WatchTaskRequest(name=task.name), timeout=60):
            pass
    await asyncio.sleep(2)


async def outcomes(client: Client, rpc: Rpc, values: list[str]) -> dict[str, Outcome]:
    gate = asyncio.Semaphore(AT_A_TIME)

    async def one(value: str) -> Outcome:
        async with gate:
            return await outcome_of(client, rpc, value)

    return dict(zip(values, await asyncio.gather(*map(one, values)), strict=True))


def rows_of(world: World) -> dict[str, list[tuple[object, ...]]]:
    """Every row of bravo's, of every table."""
    tables = [str(row[0]) for row in world.database.rows(TENANT_TABLES)]
    query = "SELECT t::text FROM {} AS t WHERE tenant_id = %s ORDER BY 1"
    return {table: world.database.rows(query.format(table), world.bravo.tenant_id) for table in tables}


def secrets_of(world: World) -> list[bytes]:
    return [CANARY.encode(), str(world.bravo.tenant_id).encode(), *(name.encode() for name in world.names)]


def leaks(world: World, name: str, outcome: Outcome) -> list[str]:
    """What of bravo's a response holds that its caller did not put into the request."""
    sent = {name.encode(), name.rpartition("/")[2].encode()}
    return [
        secret.decode()
        for secret in secrets_of(world)
        if any(secret in response for response in outcome.responses) and not any(secret in part for part in sent)
    ]


def not_refused(world: World, path: str, tried: dict[str, Outcome]) -> dict[str, Outcome]:
    """Where alpha was not refused what serves bravo. A request that names nothing serves anybody with their own."""
    served = {name for name in world.served[path] - NAMES_OF_ALL if "/" in name and PUBLIC[path].takes_names}
    return {name: made for name, made in tried.items() if name in served and made.code not in REFUSED}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("path", PUBLIC)
async def test_no_rpc_gives_another_tenant_s_data(world, path, tried):
    tried("rpc", len(world.tried[path]))
    assert {name: found for name, made in world.tried[path].items() if (found := leaks(world, name, made))} == {}


@pytest.mark.parametrize("path", PUBLIC)
async def test_no_rpc_breaks_on_another_tenant_s_names(world, path):
    assert {name: made for name, made in world.tried[path].items() if made.code in BROKEN} == {}


@pytest.mark.parametrize("path", PUBLIC)
async def test_what_serves_the_owner_of_a_name_refuses_another_tenant(world, path):
    assert not_refused(world, path, world.tried[path]) == {}


async def test_the_owner_is_served(world):
    """Else a refusal would prove nothing."""
    print(f"{sum(map(len, world.tried.values()))} calls with {len(world.names)} names of another tenant")
    reading = {path for path, rpc in PUBLIC.items() if rpc.reads and rpc.scope != "operator"}
    assert {path for path in reading if not world.served[path]} - NOT_MADE == set()


# Its resource needs a model.
NOT_MADE = {"/morningai.api.changes.v1.ChangeService/GetChange"}


async def test_the_owner_of_a_task_that_waits_decides_and_nobody_else(world):
    paths = [f"/morningai.api.tasks.v1.TaskService/{name}" for name in ("GetApproval", "ApproveTask", "RejectTask")]
    (waiting,) = (name for name in world.names if name.startswith("approvals/"))
    assert {world.tried[path][waiting].code for path in paths} == {grpc.StatusCode.NOT_FOUND}
    assert any(waiting in world.served[path] for path in paths[1:])


async def test_the_owner_of_a_schedule_pauses_resumes_and_deletes_it_and_nobody_else(world):
    paths = [f"/morningai.api.schedules.v1.ScheduleService/{verb}Schedule" for verb in ("Pause", "Resume", "Delete")]
    (schedule,) = (name for name in world.names if name.startswith("schedules/"))
    assert {world.tried[path][schedule].code for path in paths} == {grpc.StatusCode.NOT_FOUND}
    assert [schedule in world.served[path] for path in paths] == [True, True, True]


async def test_the_owner_of_a_remote_source_sets_and_clears_its_credential(world):
    paths = [path for path in PUBLIC if path.endswith("SourceCredential")]
    assert {f"sources/{REMOTE}" in world.served[path] for path in paths} == {True}
    assert {world.tried[path][f"sources/{REMOTE}"].code for path in paths} == {grpc.StatusCode.NOT_FOUND}


async def test_the_owner_of_dead_letters_replays_one_and_drops_the_other(world):
    replayed, dropped = (
        {name for name in world.served[path] if name.startswith("deadLetters/")}
        for path in PUBLIC
        if path.endswith(("/ReplayDeadLetter", "/DropDeadLetter"))
    )
    assert (len(replayed), len(dropped), replayed & dropped) == (1, 1, set())


async def test_an_rpc_that_reads_by_name_was_refused_to_another_tenant_at_least_once(world):
    refusals = {path: {made.code for made in tried.values()} & REFUSED for path, tried in world.tried.items()}
    by_name = {path for path, rpc in PUBLIC.items() if rpc.reads and rpc.takes_names}
    assert {path for path in by_name if not refusals[path]} == set()


CREDENTIALS: dict[str, Callable[[TestDatabase, TestTenant], tuple[tuple[str, str], ...]]] = {
    "no": lambda database, owner: (),
    "bad": lambda database, owner: (bearer(f"{owner.api_key}x"),),
    "unknown": lambda database, owner: (bearer("mk_0123456789abcdef.secret"),),
    "expired": lambda database, owner: (
        bearer(tenant_with(database, SCOPES, ", expires_at = now() - interval '1 second'").api_key),
    ),
    "revoked": lambda database, owner: (bearer(tenant_with(database, SCOPES, ", revoked_at = now()").api_key),),
    "grant as a key": lambda database, owner: (bearer(owner.grant()),),
    PROOF: lambda database, owner: ((PROOF_KEY, owner.grant()),),
    "seal as a key": lambda database, owner: (bearer(seal_of(owner)),),
    "seal as a proof": lambda database, owner: ((PROOF_KEY, seal_of(owner)),),
}


def seal_of(owner: TestTenant) -> str:
    seal = "SELECT seal FROM gateway.outbox WHERE tenant_id = %s LIMIT 1"
    return str(owner.database.rows(seal, owner.tenant_id)[0][0])


async def codes_of(client: Client, world: World, rpcs: dict[str, Rpc]) -> dict[str, grpc.StatusCode]:
    name = f"sources/{CANARY}"
    return {path: (await outcome_of(client, rpc, name)).code for path, rpc in rpcs.items()}


async def not_unauthenticated(world: World, address: str, credential: str) -> dict[str, grpc.StatusCode]:
    """The RPCs that do not refuse a credential as one that is not valid."""
    async with connected(address, *CREDENTIALS[credential](world.database, world.bravo)) as client:
        codes = await codes_of(client, world, PUBLIC)
    return {path: code for path, code in codes.items() if code is not grpc.StatusCode.UNAUTHENTICATED}


async def not_denied(world: World, address: str, scope: str) -> dict[str, grpc.StatusCode]:
    """The RPCs of a scope that do not refuse the key that has every other scope."""
    key = tenant_with(world.database, [other for other in SCOPES if other != scope]).api_key
    async with connected(address, bearer(key)) as client:
        codes = await codes_of(client, world, {path: rpc for path, rpc in PUBLIC.items() if rpc.scope == scope})
    return {path: code for path, code in codes.items() if code is not grpc.StatusCode.PERMISSION_DENIED}


@pytest.mark.parametrize("credential", CREDENTIALS)
async def test_every_rpc_refuses_a_credential_that_is_not_valid(world, credential, tried):
    tried("rpc", len(PUBLIC))
    assert await not_unauthenticated(world, world.platform.address, credential) == {}


@pytest.mark.parametrize("scope", [*SCOPES, "operator"])
async def test_every_rpc_refuses_a_key_without_its_scope(world, scope, tried):
    tried("rpc", sum(rpc.scope == scope for rpc in PUBLIC.values()))
    assert await not_denied(world, world.platform.address, scope) == {}


async def test_an_operator_is_no_tenant(world):
    async with connected(world.platform.address, bearer(world.platform.operator_key)) as client:
        rpcs = {path: rpc for path, rpc in PUBLIC.items() if rpc.scope != "operator"}
        codes = await codes_of(client, world, rpcs)
    assert {path: code for path, code in codes.items() if code is not grpc.StatusCode.PERMISSION_DENIED} == {}


async def test_no_internal_rpc_is_reached_through_the_door(world):
    proof = (PROOF_KEY, world.bravo.grant())
    async with connected(world.platform.address, bearer(world.alpha.api_key), proof) as client:
        codes = await codes_of(client, world, INTERNAL)
    assert codes
    assert set(codes.values()) == {grpc.StatusCode.UNIMPLEMENTED}


def admitting_anybody(owner: TestTenant) -> Callable[..., object]:
    async def prove(_: Authenticator, __: Context) -> str:
        return owner.grant()

    return prove


def admitting_proofs(_: TestTenant) -> Callable[..., object]:
    async def prove(_: Authenticator, context: Context) -> str:
        return metadata_value(context, PROOF_KEY)

    return prove


def checking_nothing(_: TestTenant) -> Callable[..., object]:
    return lambda *_: None


@asynccontextmanager
async def another_gateway(world: World) -> AsyncIterator[str]:
    """In the test's process, before the same services; its address."""
    inside = {f"{other}_address": f"unix:{world.folder}/{other}.sock" for other in OTHERS}
    with tempfile.TemporaryDirectory(prefix="rp") as folder:
        async with open_door(world.database, Path(folder), **inside) as address:
            yield address


async def reached(world: World, address: str, path: str) -> dict[str, Outcome]:
    """What alpha gets of bravo's with its own key."""
    async with connected(address, bearer(world.alpha.api_key)) as client:
        return not_refused(world, path, await outcomes(client, PUBLIC[path], world.names))


GRANT = "SELECT kernel.mint_grant(%s, 'key:mk_test', string_to_array(%s, ','), %s::interval)"
PROOFS: dict[str, Callable[[World, Rpc], str]] = {
    "no proof": lambda world, rpc: "",
    "a key": lambda world, rpc: world.bravo.api_key,
    "garbage": lambda world, rpc: "|".join("garbage!"),
    "a forged grant": lambda world, rpc: world.bravo.grant()[:-1] + "!",
    "a grant that has ended": lambda world, rpc: grant_of(world, [rpc.scope], "-1 second"),
    "a grant without the scope": lambda world, rpc: grant_of(world, [scope for scope in SCOPES if scope != rpc.scope]),
}
# What a service may say of a request that it looks at before it opens a session, to a proof that claims the scope.
UNREAD = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
CLOSED = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNIMPLEMENTED}


def grant_of(world: World, scopes: list[str], lifetime: str = "1 minute") -> str:
    return str(world.database.rows(GRANT, world.bravo.tenant_id, ",".join(scopes), lifetime)[0][0])


@pytest.mark.parametrize("proof", PROOFS)
async def test_every_service_behind_the_door_checks_proofs_itself(world, proof, tried):
    tried("rpc", len(OTHERS) * len(RPCS))
    said: dict[str, dict[str, grpc.StatusCode]] = {}
    for service in OTHERS:
        for path, rpc in RPCS.items():
            address = f"unix:{world.folder}/{service}.sock"
            async with connected(address, (PROOF_KEY, PROOFS[proof](world, rpc))) as client:
                outcome = await outcome_of(client, rpc, f"sources/{CANARY}")
            said.setdefault(path, {})[service] = outcome.code
    allowed = CLOSED | (UNREAD if proof in ("a forged grant", "a grant that has ended") else set())
    assert {path: codes for path, codes in said.items() if set(codes.values()) - allowed} == {}
    served = {path for path, codes in said.items() if set(codes.values()) - {grpc.StatusCode.UNIMPLEMENTED}}
    assert served >= {path for path in RPCS if not path.startswith(tuple(f"/{service}/" for service in OWN))}


MUTANTS = {
    "an authenticator that mistakes tenants": (Authenticator, "prove", admitting_anybody, reached, GET_DOCUMENT),
    "an authenticator that accepts anything": (Authenticator, "prove", admitting_anybody, not_unauthenticated, "no"),
    "an authenticator that accepts a proof": (Authenticator, "prove", admitting_proofs, not_unauthenticated, PROOF),
    "a scope that nobody checks": (rpc_call, "require_scope", checking_nothing, not_denied, "tasks.read"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
async def test_a_gateway_that_forgets_a_check_is_noticed(world, mutant, monkeypatch, killed):
    owner, name, forgetful, check, case = MUTANTS[mutant]
    # A stream that is open to anybody would be listened to for as long as one that is not.
    monkeypatch.setattr(rpcs, "SECONDS", 2.0)
    # Else what is known of a credential would refuse it before.
    monkeypatch.setattr(Authenticator, "known_grant", checking_nothing(world.bravo))
    monkeypatch.setattr(owner, name, forgetful(world.bravo))
    async with another_gateway(world) as address:
        killed([mutant], [mutant] if await check(world, address, case) else [])


async def test_the_same_gateway_that_forgets_nothing_is_not(world):
    async with another_gateway(world) as address:
        assert await not_unauthenticated(world, address, "no") == {}
        assert await not_unauthenticated(world, address, PROOF) == {}
        assert await not_denied(world, address, "tasks.read") == {}
        assert await reached(world, address, GET_DOCUMENT) == {}


def service_of(rpc: Rpc, *, scoped: bool) -> str:
    """The name of a service that is the method's own, with or without the option that names its scope."""
    original = rpc.method.containing_service
    package = f"mutants.{rpc.method.name.lower()}.{'scoped' if scoped else 'dropped'}_{original.name.lower()}"
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package)
    file.dependency.extend([original.file.name, *(imported.name for imported in original.file.dependencies)])
    original.CopyToProto(file.service.add())
    for method in file.service[0].method:
        if method.name == rpc.method.name and not scoped:
            method.options.ClearExtension(options.required_scope)
    Default().AddSerializedFile(file.SerializeToString())
    return f"{package}.{original.name}"


@pytest.mark.parametrize("path", [path for path, rpc in RPCS.items() if rpc.scope])
async def test_a_server_with_a_method_whose_scope_was_dropped_does_not_start(path, killed):
    RpcServer("unix:/nowhere", [service_of(RPCS[path], scoped=True)])
    with pytest.raises(UndeclaredScope) as caught:
        RpcServer("unix:/nowhere", [service_of(RPCS[path], scoped=False)])
    killed([RPCS[path].method.name], str(caught.value))


async def test_one_method_alone_has_no_scope_and_it_is_internal():
    assert {path for path, rpc in RPCS.items() if not rpc.scope} == {EXCHANGE_TOKEN} <= set(INTERNAL)
