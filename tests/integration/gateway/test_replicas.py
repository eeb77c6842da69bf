"""Two gateways with the settings as they are: whom one shuts out the other refuses within five seconds."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import grpc
import pytest

from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import members_pb2 as members
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from tests.integration.gateway.door import OTHERS, insert_task, open_door
from tests.integration.gateway.platform import bearer, connected

WITHIN_SECONDS = 5.0
NO_TENANT = ("morningai-tenant", "-")
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


@pytest.fixture
async def connect(platform):
    """`await connect(replica, key)`: a client of the first gateway (0) or the second (1), before the same services."""
    inside = {f"{name}_address": f"unix:{platform.folder}/{name}.sock" for name in OTHERS}
    async with AsyncExitStack() as stack:
        folders = [Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gw"))) for _ in range(2)]
        addresses = [
            await stack.enter_async_context(open_door(platform.database, folder, **inside)) for folder in folders
        ]

        async def connect(replica, key, *metadata):
            return await stack.enter_async_context(connected(addresses[replica], bearer(key), *metadata))

        yield connect


async def new_key(owner):
    wanted = keys.ApiKey(display_name="CI", scopes=["tasks.read"])
    return await owner.keys.CreateApiKey(keys.CreateApiKeyRequest(api_key=wanted))


async def lists(client):
    try:
        await client.tasks.ListTasks(tasks.ListTasksRequest(), timeout=10)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def refusal_of(client, shut_out, request):
    """The code of the first refused call, and how many seconds after the client was shut out elsewhere it came."""
    assert await lists(client) is grpc.StatusCode.OK  # from now on the gateway has a grant at hand
    await shut_out(request)
    began = time.monotonic()
    async with asyncio.timeout(2 * WITHIN_SECONDS):
        while (code := await lists(client)) is grpc.StatusCode.OK:  # noqa: ASYNC110  # what is waited for is the refusal
            await asyncio.sleep(0.05)
    return code, time.monotonic() - began


async def test_a_key_that_was_revoked_at_one_gateway_is_refused_by_the_other(connect, acme):
    owner = await connect(0, acme.api_key)
    made = await new_key(owner)
    revoking = keys.RevokeApiKeyRequest(name=made.api_key.name)
    code, seconds = await refusal_of(await connect(1, made.key), owner.keys.RevokeApiKey, revoking)
    assert code is UNAUTHENTICATED
    assert seconds < WITHIN_SECONDS


async def test_a_member_who_was_removed_at_one_gateway_is_refused_by_the_other(connect, acme, platform):
    owner, token = await connect(0, acme.api_key), platform.identities.token(f"s-{uuid4().hex[:12]}")
    invitation = members.Invitation(role=members.MEMBER_ROLE_MEMBER)
    made = await owner.members.InviteMember(members.InviteMemberRequest(invitation=invitation))
    invited = await connect(1, token, NO_TENANT)
    accepted = await invited.members.AcceptInvitation(members.AcceptInvitationRequest(token=made.token))
    removing = members.RemoveMemberRequest(name=accepted.member)
    code, seconds = await refusal_of(await connect(1, token), owner.members.RemoveMember, removing)
    assert code is UNAUTHENTICATED
    assert seconds < WITHIN_SECONDS


async def test_a_tenant_that_was_suspended_at_one_gateway_is_refused_by_the_other(connect, acme, platform):
    operator = await connect(0, platform.operator_key)
    suspending = tenants.SuspendTenantRequest(name=f"tenants/{acme.tenant_id}")
    code, seconds = await refusal_of(await connect(1, acme.api_key), operator.tenants.SuspendTenant, suspending)
    assert code is UNAUTHENTICATED
    assert seconds < WITHIN_SECONDS


async def test_a_watch_at_one_gateway_ends_when_its_key_is_revoked_at_the_other(connect, acme):
    owner = await connect(0, acme.api_key)
    made = await new_key(owner)
    watcher = await connect(1, made.key)
    watch = watcher.tasks.WatchTask(tasks.WatchTaskRequest(name=insert_task(acme)), timeout=30)
    reading = asyncio.create_task(watch.read())
    await asyncio.sleep(1)
    assert not reading.done()
    await owner.keys.RevokeApiKey(keys.RevokeApiKeyRequest(name=made.api_key.name))
    began = time.monotonic()
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await reading
    assert ended.value.code() is UNAUTHENTICATED
    assert time.monotonic() - began < WITHIN_SECONDS
