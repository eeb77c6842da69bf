"""People at the public door: invited, let in with a token of their identity provider, changed and removed."""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from morningai.api.tasks.v1 import tasks_pb2 as tasks
from morningai.api.tenants.v1 import audit_pb2 as audit
from morningai.api.tenants.v1 import identities_pb2, identities_pb2_grpc
from morningai.api.tenants.v1 import keys_pb2 as keys
from morningai.api.tenants.v1 import members_pb2 as api
from morningai.api.tenants.v1 import tenants_pb2 as tenants
from morningai.rpc.status import reason_of, remedy_of
from tests.identity_provider import claims_of, sign
from tests.integration.gateway.platform import KEY_CACHE_SECONDS

NO_TENANT = ("morningai-tenant", "-")
OK, DENIED = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def invitation(role=api.MEMBER_ROLE_MEMBER, **fields):
    return api.InviteMemberRequest(invitation=api.Invitation(role=role, **fields))


async def code_of(call):
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return OK


def lists(client):
    return code_of(client.tasks.ListTasks(tasks.ListTasksRequest(), timeout=10))


@pytest.fixture
async def owner(connect, acme):
    """The tenant's first key, which may do everything."""
    return await connect(acme.api_key)


@pytest.fixture
def join(connect, platform):
    """`await join(inviter, role)`: a new member's client, name and subject."""

    async def join(inviter, role=api.MEMBER_ROLE_MEMBER, subject="", slug=""):
        subject = subject or f"s-{uuid4().hex[:12]}"
        token = platform.identities.token(subject)
        made = await inviter.members.InviteMember(invitation(role))
        stranger = await connect(token, NO_TENANT)
        accepted = await stranger.members.AcceptInvitation(api.AcceptInvitationRequest(token=made.token))
        named = (("morningai-tenant", slug),) if slug else ()
        return await connect(token, *named), accepted, subject

    return join


async def test_an_invited_member_may_do_what_the_role_says(owner, join, acme):
    member, accepted, _ = await join(owner)
    assert await lists(member) is OK
    own = await member.tenants.GetTenant(tenants.GetTenantRequest(name="tenants/-"))
    assert (own.name, own.slug) == (f"tenants/{acme.tenant_id}", accepted.tenant_slug)
    assert await code_of(member.members.InviteMember(invitation())) is DENIED
    assert await code_of(member.keys.ListApiKeys(keys.ListApiKeysRequest())) is DENIED


async def test_a_member_is_listed_with_the_address_that_the_provider_verified(owner, join):
    _, accepted, subject = await join(owner)
    listed = (await owner.members.ListMembers(api.ListMembersRequest())).members
    assert [(one.name, one.subject, one.email, one.role) for one in listed] == [
        (accepted.member, subject, f"{subject}@example.org", api.MEMBER_ROLE_MEMBER)
    ]


async def test_members_are_listed_newest_first_in_pages(owner, join):
    made = [(await join(owner))[1].member for _ in range(3)]
    first = await owner.members.ListMembers(api.ListMembersRequest(page_size=2))
    second = await owner.members.ListMembers(api.ListMembersRequest(page_size=2, page_token=first.next_page_token))
    assert [one.name for page in (first, second) for one in page.members] == made[::-1]
    assert second.next_page_token == ""


async def test_a_member_acts_as_a_user_in_the_log(owner, join):
    admin, accepted, _ = await join(owner, api.MEMBER_ROLE_ADMIN)
    await admin.members.InviteMember(invitation())
    request = audit.ListAuditEntriesRequest(
        filter=audit.AuditFilter(principal=accepted.member.replace("members/", "user:"))
    )
    found = [entry.action for entry in (await owner.audit.ListAuditEntries(request)).entries]
    assert found == ["members.invite", "members.accept"]


async def test_an_invitation_is_good_for_one(owner, join, connect, platform):
    made = await owner.members.InviteMember(invitation())
    tokens = [platform.identities.token(f"s-{uuid4().hex[:12]}") for _ in range(4)]
    strangers = [await connect(token, NO_TENANT) for token in tokens]
    request = api.AcceptInvitationRequest(token=made.token)
    codes = await asyncio.gather(*(code_of(one.members.AcceptInvitation(request)) for one in strangers))
    assert sorted(codes, key=str) == sorted([OK, *[grpc.StatusCode.NOT_FOUND] * 3], key=str)


async def test_an_invitation_to_an_address_is_good_for_that_address(owner, connect, platform):
    subject = f"s-{uuid4().hex[:12]}"
    made = await owner.members.InviteMember(invitation(email=f"{subject}@EXAMPLE.org"))
    request = api.AcceptInvitationRequest(token=made.token)
    eve = await connect(platform.identities.token("eve"), NO_TENANT)
    unverified = await connect(
        platform.identities.token("eve2", email=f"{subject}@example.org", email_verified=False), NO_TENANT
    )
    invited = await connect(platform.identities.token(subject), NO_TENANT)
    codes = [await code_of(one.members.AcceptInvitation(request)) for one in (eve, unverified, invited)]
    assert codes == [grpc.StatusCode.NOT_FOUND, grpc.StatusCode.NOT_FOUND, OK]


async def test_an_invitation_expires(owner, connect, platform, acme):
    made = await owner.members.InviteMember(invitation())
    past = f"UPDATE tenancy.invitations SET expires_at = now() WHERE tenant_id = '{acme.tenant_id}'"
    await platform.database.change(past)
    stranger = await connect(platform.identities.token("late"), NO_TENANT)
    request = api.AcceptInvitationRequest(token=made.token)
    assert await code_of(stranger.members.AcceptInvitation(request)) is grpc.StatusCode.NOT_FOUND


def revoking(name):
    return api.RevokeInvitationRequest(name=name)


async def test_a_revoked_invitation_is_not_accepted(owner, connect, platform):
    made = await owner.members.InviteMember(invitation())
    revoked = await owner.members.RevokeInvitation(revoking(made.invitation.name))
    assert revoked.HasField("revoke_time")
    stranger = await connect(platform.identities.token("late"), NO_TENANT)
    request = api.AcceptInvitationRequest(token=made.token)
    assert await code_of(stranger.members.AcceptInvitation(request)) is grpc.StatusCode.NOT_FOUND


async def test_revoking_an_invitation_twice_keeps_the_first_time_and_writes_one_entry(owner):
    made = await owner.members.InviteMember(invitation(email="ada@example.org"))
    first, second = [await owner.members.RevokeInvitation(revoking(made.invitation.name)) for _ in range(2)]
    assert first.revoke_time == second.revoke_time
    request = audit.ListAuditEntriesRequest(filter=audit.AuditFilter(action="invitations.revoke"))
    entries = (await owner.audit.ListAuditEntries(request)).entries
    assert [(entry.resource, dict(entry.details)) for entry in entries] == [
        (made.invitation.name, {"email": "ada@example.org", "role": "member"})
    ]


async def test_an_accepted_invitation_is_not_revoked_and_it_is_said_what_to_do(owner, join):
    await join(owner)
    [accepted] = (await owner.members.ListInvitations(api.ListInvitationsRequest())).invitations
    with pytest.raises(grpc.aio.AioRpcError, match="was accepted") as refused:
        await owner.members.RevokeInvitation(revoking(accepted.name))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert remedy_of(refused.value) == "Remove the member: `member remove`."


async def test_invitations_are_listed_newest_first_in_pages_without_their_secrets(owner, join, acme):
    _, accepted, _ = await join(owner)
    made = [await owner.members.InviteMember(invitation(email=f"{n}@example.org")) for n in range(2)]
    first = await owner.members.ListInvitations(api.ListInvitationsRequest(page_size=2))
    second = await owner.members.ListInvitations(
        api.ListInvitationsRequest(page_size=2, page_token=first.next_page_token)
    )
    assert [one.email for one in first.invitations] == ["1@example.org", "0@example.org"]
    assert [(one.member, one.HasField("accept_time")) for one in second.invitations] == [(accepted.member, True)]
    assert second.next_page_token == ""
    assert first.invitations[0] == made[1].invitation
    assert first.invitations[0].creator == f"key:{acme.api_key.partition('.')[0]}"
    secrets = [one.token.partition(".")[2] for one in made]
    assert [secret for secret in secrets if secret in str(first)] == []


async def test_who_is_no_admin_neither_lists_nor_revokes_invitations(owner, join):
    member, _, _ = await join(owner)
    made = await owner.members.InviteMember(invitation())
    codes = [
        await code_of(member.members.ListInvitations(api.ListInvitationsRequest())),
        await code_of(member.members.RevokeInvitation(revoking(made.invitation.name))),
    ]
    assert codes == [DENIED] * 2


async def test_an_admin_does_not_revoke_an_invitation_to_a_role_above(owner, join):
    admin, _, _ = await join(owner, api.MEMBER_ROLE_ADMIN)
    made = await owner.members.InviteMember(invitation(api.MEMBER_ROLE_OWNER))
    assert await code_of(admin.members.RevokeInvitation(revoking(made.invitation.name))) is DENIED
    assert await code_of(owner.members.RevokeInvitation(revoking(made.invitation.name))) is OK


async def test_another_tenant_s_invitation_is_not_listed_and_does_not_exist(owner, connect, new_tenant):
    other = await connect(new_tenant().api_key)
    made = await other.members.InviteMember(invitation())
    assert list((await owner.members.ListInvitations(api.ListInvitationsRequest())).invitations) == []
    revoked = owner.members.RevokeInvitation(revoking(made.invitation.name))
    assert await code_of(revoked) is grpc.StatusCode.NOT_FOUND


async def test_the_secret_of_an_invitation_is_not_stored(owner, platform):
    made = await owner.members.InviteMember(invitation())
    key_id, _, secret = made.token.partition(".")
    rows = platform.database.rows("SELECT i::text FROM tenancy.invitations AS i WHERE invitation_id = %s", key_id)
    assert len(rows) == 1
    assert secret not in rows[0][0]


async def test_a_member_who_accepts_again_is_told(owner, join, connect, platform):
    _, _, subject = await join(owner)
    made = await owner.members.InviteMember(invitation(api.MEMBER_ROLE_OWNER))
    again = await connect(platform.identities.token(subject), NO_TENANT)
    request = api.AcceptInvitationRequest(token=made.token)
    assert await code_of(again.members.AcceptInvitation(request)) is grpc.StatusCode.ALREADY_EXISTS


async def test_who_is_no_member_is_told_how_to_become_one(connect, platform):
    stranger = await connect(platform.identities.token("nobody"))
    with pytest.raises(grpc.aio.AioRpcError, match="no member") as refused:
        await stranger.tasks.ListTasks(tasks.ListTasksRequest())
    assert refused.value.code() is UNAUTHENTICATED
    assert "member accept" in remedy_of(refused.value)


async def test_an_identity_without_a_tenant_accepts_invitations_and_does_nothing_else(connect, platform):
    stranger = await connect(platform.identities.token("nobody"), NO_TENANT)
    assert await lists(stranger) is DENIED
    assert await code_of(stranger.tenants.ListTenants(tenants.ListTenantsRequest())) is DENIED


async def test_a_key_accepts_no_invitation(owner):
    made = await owner.members.InviteMember(invitation())
    assert await code_of(owner.members.AcceptInvitation(api.AcceptInvitationRequest(token=made.token))) is DENIED


async def test_a_member_of_two_tenants_names_one(owner, join, connect, new_tenant, platform):
    _, first, subject = await join(owner)
    other = await connect(new_tenant().api_key)
    _, second, _ = await join(other, subject=subject)
    token = platform.identities.token(subject)
    with pytest.raises(grpc.aio.AioRpcError, match="several tenants") as refused:
        await (await connect(token)).tenants.GetTenant(tenants.GetTenantRequest(name="tenants/-"))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert {first.tenant_slug, second.tenant_slug} <= set(remedy_of(refused.value).rstrip(".").replace(",", "").split())
    for slug in (first.tenant_slug, second.tenant_slug):
        client = await connect(token, ("morningai-tenant", slug))
        assert (await client.tenants.GetTenant(tenants.GetTenantRequest(name="tenants/-"))).slug == slug


@pytest.mark.parametrize("slug", ["another-tenant", "' OR true --", "x" * 500])
async def test_no_member_of_the_named_tenant_is_let_in(owner, join, connect, platform, slug):
    _, _, subject = await join(owner)
    assert await lists(await connect(platform.identities.token(subject), ("morningai-tenant", slug))) is UNAUTHENTICATED


async def test_a_member_of_a_suspended_tenant_is_shut_out(owner, join, connect, platform, acme):
    member, _, _ = await join(owner)
    assert await lists(member) is OK
    operator = await connect(platform.operator_key)
    await operator.tenants.SuspendTenant(tenants.SuspendTenantRequest(name=f"tenants/{acme.tenant_id}"))
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    assert await lists(member) is UNAUTHENTICATED


async def test_a_new_role_holds_within_its_seconds_and_a_removed_member_is_out(owner, join):
    member, accepted, _ = await join(owner, api.MEMBER_ROLE_ADMIN)
    assert await code_of(member.keys.ListApiKeys(keys.ListApiKeysRequest())) is OK
    changed = api.Member(name=accepted.member, role=api.MEMBER_ROLE_VIEWER)
    assert (await owner.members.UpdateMember(api.UpdateMemberRequest(member=changed))).role == api.MEMBER_ROLE_VIEWER
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    assert await code_of(member.keys.ListApiKeys(keys.ListApiKeysRequest())) is DENIED
    assert await lists(member) is OK
    await owner.members.RemoveMember(api.RemoveMemberRequest(name=accepted.member))
    await asyncio.sleep(KEY_CACHE_SECONDS + 0.1)
    assert await lists(member) is UNAUTHENTICATED


async def test_an_admin_neither_makes_nor_changes_nor_removes_an_owner(owner, join):
    admin, own, _ = await join(owner, api.MEMBER_ROLE_ADMIN)
    _, above, _ = await join(owner, api.MEMBER_ROLE_OWNER)
    demoted = api.Member(name=above.member, role=api.MEMBER_ROLE_VIEWER)
    promoted = api.Member(name=own.member, role=api.MEMBER_ROLE_OWNER)
    codes = [
        await code_of(admin.members.InviteMember(invitation(api.MEMBER_ROLE_OWNER))),
        await code_of(admin.members.UpdateMember(api.UpdateMemberRequest(member=promoted))),
        await code_of(admin.members.UpdateMember(api.UpdateMemberRequest(member=demoted))),
        await code_of(admin.members.RemoveMember(api.RemoveMemberRequest(name=above.member))),
    ]
    assert codes == [DENIED] * 4


async def test_the_last_owner_is_neither_removed_nor_demoted(owner, join):
    _, first, _ = await join(owner, api.MEMBER_ROLE_OWNER)
    demoted = api.UpdateMemberRequest(member=api.Member(name=first.member, role=api.MEMBER_ROLE_ADMIN))
    with pytest.raises(grpc.aio.AioRpcError, match="last owner") as refused:
        await owner.members.RemoveMember(api.RemoveMemberRequest(name=first.member))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert remedy_of(refused.value) == "Make somebody else an owner first."
    assert await code_of(owner.members.UpdateMember(demoted)) is grpc.StatusCode.FAILED_PRECONDITION
    await join(owner, api.MEMBER_ROLE_OWNER)
    assert await code_of(owner.members.UpdateMember(demoted)) is OK


async def test_another_tenant_s_member_does_not_exist(owner, join, connect, new_tenant):
    _, accepted, _ = await join(await connect(new_tenant().api_key))
    changed = api.UpdateMemberRequest(member=api.Member(name=accepted.member, role=api.MEMBER_ROLE_VIEWER))
    assert await code_of(owner.members.UpdateMember(changed)) is grpc.StatusCode.NOT_FOUND
    removed = api.RemoveMemberRequest(name=accepted.member)
    assert await code_of(owner.members.RemoveMember(removed)) is grpc.StatusCode.NOT_FOUND


async def test_a_grant_does_not_outlive_its_token(owner, join, connect, platform):
    _, _, subject = await join(owner)
    client = await connect(platform.identities.token(subject, exp=int(time.time()) + 2))
    assert await lists(client) is OK
    await asyncio.sleep(2.2)
    # The leeway for the difference of two clocks is ten seconds: the token is asked about again, and not yet refused.
    assert await lists(client) is OK
    expired = await connect(platform.identities.token(subject, exp=int(time.time()) - 11))
    assert await lists(expired) is UNAUTHENTICATED


BAD_TOKENS = {
    "garbage": lambda: "a.b.c",
    "of another issuer": lambda: sign(claims_of(iss="https://evil.example.org")),
    "for another audience": lambda: sign(claims_of(aud="other")),
    "with an unknown key": lambda: sign(claims_of(), key_id="k9"),
    "expired": lambda: sign(claims_of(exp=int(time.time()) - 60)),
    "too long": lambda: sign(claims_of(padding="x" * 4600)),
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_bad_token_opens_nothing_and_the_refusal_tells_nothing_of_the_inside(connect, kind):
    client = await connect(BAD_TOKENS[kind]())
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await client.tasks.ListTasks(tasks.ListTasksRequest())
    assert refused.value.code() is UNAUTHENTICATED
    assert reason_of(refused.value) == "UNAUTHENTICATED"
    assert remedy_of(refused.value)
    assert not any(word in refused.value.details() for word in ("Error", "jwt", ".sock", "kid", "Traceback"))


async def test_the_exchange_of_tokens_is_not_forwarded(connect, acme, platform):
    client = await connect(acme.api_key)
    stub = identities_pb2_grpc.IdentityServiceStub(client.channel)
    request = identities_pb2.ExchangeTokenRequest(token=platform.identities.token())
    assert await code_of(stub.ExchangeToken(request)) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_watch_ends_when_its_member_is_removed(client, owner, join):
    member, accepted, _ = await join(owner)
    task = tasks.Task(instruction="what?", source="sources/small", kinds=[tasks.TASK_KIND_ANSWER])
    created = await client.tasks.CreateTask(tasks.CreateTaskRequest(task=task, request_id=str(uuid4())))
    watch = member.tasks.WatchTask(tasks.WatchTaskRequest(name=created.name), timeout=60)
    assert (await watch.read()).sequence == 1
    await owner.members.RemoveMember(api.RemoveMemberRequest(name=accepted.member))
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        [event async for event in watch]
    assert ended.value.code() is UNAUTHENTICATED


async def test_an_invitation_lasts_a_week_unless_said_otherwise(owner):
    made = await owner.members.InviteMember(invitation())
    assert 6.9 * 86400 < made.invitation.expire_time.seconds - time.time() <= 7 * 86400
    tomorrow = Timestamp(seconds=int(time.time()) + 86400)
    made = await owner.members.InviteMember(invitation(expire_time=tomorrow))
    assert made.invitation.expire_time == tomorrow
