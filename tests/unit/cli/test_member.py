from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from morningai.api.tenants.v1 import members_pb2
from morningai.errors import FailedPrecondition, Unavailable
from tests.unit.cli.conftest import Cli
from tests.unit.cli.fake_gateway import Script


def test_members_are_listed_with_their_roles(tenant_cli: Cli) -> None:
    said = tenant_cli("member", "list")

    assert said.out.splitlines()[1].split()[:4] == ["1", "owner", "ada@example.org", "Ada"]


def test_an_invitation_is_shown_with_its_token(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("member", "invite", "admin", "--email", "ada@example.org")

    assert "mi_1.secret" in said.out
    request = script.requests("InviteMember")[0]
    assert isinstance(request, members_pb2.InviteMemberRequest)
    assert (request.invitation.role, request.invitation.email) == (members_pb2.MEMBER_ROLE_ADMIN, "ada@example.org")
    left = request.invitation.expire_time.ToDatetime(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(days=6, hours=23) < left <= timedelta(days=7)


def test_the_secret_of_an_invitation_is_not_repeated_in_the_next_step(tenant_cli: Cli) -> None:
    assert "secret" not in tenant_cli("member", "invite", "viewer").err


def test_an_invitation_is_not_made_twice_blindly(tenant_cli: Cli, script: Script) -> None:
    script.failures["InviteMember"] = [Unavailable("tenancy is away.")]

    assert tenant_cli("member", "invite", "viewer").code == 5
    assert len(script.requests("InviteMember")) == 1


def test_invitations_are_listed_with_what_became_of_them(tenant_cli: Cli) -> None:
    lines = [line.split() for line in tenant_cli("member", "invitations").out.splitlines()[1:]]

    assert [(line[0], line[3]) for line in lines] == [
        ("mi_1", "open"),
        ("mi_2", "revoked"),
        ("mi_3", "expired"),
        ("mi_4", "accepted"),
    ]
    assert lines[0][1:3] == ["admin", "ada@example.org"]
    assert lines[0][-1] == "key:mk_1"


@pytest.mark.parametrize("given", ["mi_1", "invitations/mi_1"])
def test_an_invitation_is_revoked(tenant_cli: Cli, script: Script, given: str) -> None:
    assert tenant_cli("member", "revoke", given).out == "invitations/mi_1 is revoked\n"
    assert script.requests("RevokeInvitation") == [members_pb2.RevokeInvitationRequest(name="invitations/mi_1")]


def test_an_unknown_role_is_bad_usage(tenant_cli: Cli, script: Script) -> None:
    assert tenant_cli("member", "invite", "root").code == 2
    assert tenant_cli("member", "role", "1", "root").code == 2
    assert script.calls == []


def test_an_invitation_is_accepted_outside_all_tenants(
    tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORNINGAI_TENANT", "other")

    said = tenant_cli("member", "accept", "mi_1.secret")

    assert said.out == "You are member of acme (members/1)\n"
    assert script.tenants_named == ["-"]


def test_a_member_of_several_tenants_names_one(
    tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORNINGAI_TENANT", "acme")

    tenant_cli("member", "list")

    assert script.tenants_named == ["acme"]


def test_what_is_no_tenant_is_refused_before_a_call(
    tenant_cli: Cli, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORNINGAI_TENANT", "Acme Ltd.")

    said = tenant_cli("member", "list", "--json")

    assert (said.code, said.error["field"]) == (2, "MORNINGAI_TENANT")
    assert script.calls == []


def test_a_role_is_changed(tenant_cli: Cli, script: Script) -> None:
    said = tenant_cli("member", "role", "members/1", "viewer")

    assert said.out == "members/1 is viewer\n"
    changed = members_pb2.Member(name="members/1", role=members_pb2.MEMBER_ROLE_VIEWER)
    assert script.requests("UpdateMember") == [members_pb2.UpdateMemberRequest(member=changed)]


def test_a_member_is_removed(tenant_cli: Cli, script: Script) -> None:
    assert tenant_cli("member", "remove", "1").out == "members/1 is removed\n"
    assert script.requests("RemoveMember") == [members_pb2.RemoveMemberRequest(name="members/1")]


def test_the_last_owner_stays_and_it_is_said_what_to_do(tenant_cli: Cli, script: Script) -> None:
    script.failures["RemoveMember"] = [FailedPrecondition("members/1 is the last owner.", remedy="Make another.")]

    said = tenant_cli("member", "remove", "1", "--json")

    assert (said.code, said.error["remedy"]) == (1, "Make another.")
