"""`member list|invite|invitations|revoke|accept|role|remove`."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from morningai.cli.exit_code import ExitCode
from morningai.cli.invocation import Invocation, gateway_command

if TYPE_CHECKING:
    from datetime import datetime

    from morningai.api.tenants.v1.members_pb2 import Invitation, InviteMemberResponse, Member, MemberRole
    from morningai.cli.output import Output

LARGEST_LIST = 10_000
Name = Annotated[str, typer.Argument(metavar="MEMBER", help="members/… or the part behind the slash.")]


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="People in the tenant and their roles.", no_args_is_help=True)
    gateway_command(group, "list")(list_members)
    gateway_command(group, "invite")(invite)
    gateway_command(group, "invitations")(list_invitations)
    gateway_command(group, "revoke")(revoke)
    gateway_command(group, "accept")(accept)
    gateway_command(group, "role")(change_role)
    gateway_command(group, "remove")(remove)
    app.add_typer(group, name="member")


def list_members(invocation: Invocation) -> ExitCode:
    """List the tenant's members, newest first.

    \b
    Example:
      morningai member list
    """
    from morningai.api.tenants.v1 import members_pb2 as api
    from morningai.cli.listing import all_pages, show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, member_role

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[Member], str]:
            page = gateway.call(gateway.members.ListMembers, api.ListMembersRequest(page_size=size, page_token=token))
            return list(page.members), page.next_page_token

        members = all_pages(fetch, limit=LARGEST_LIST)
    if invocation.output.json_output:
        invocation.output.document({"members": [message_json(member) for member in members]})
        return ExitCode.SUCCESS
    rows = [
        (
            member.name.removeprefix("members/"),
            member_role(member.role),
            member.email,
            member.display_name or member.subject,
            clock(member.create_time),
        )
        for member in members
    ]
    show_listing(invocation.output, ("member", "role", "email", "name", "since"), rows)
    return ExitCode.SUCCESS


def invite(
    invocation: Invocation,
    role: Annotated[Role, typer.Argument(help="At most your own.")],
    email: Annotated[str, typer.Option("--email", help="Only whoever proves this address may accept.")] = "",
    expires_in: Annotated[str, typer.Option("--expires-in", help="e.g. 12h, up to 30d.")] = "7d",
) -> ExitCode:
    """Make an invitation, whose token is shown this once and is good for one.

    \b
    Examples:
      morningai member invite member --email ada@example.org
      morningai member invite viewer --expires-in 12h
    """
    from datetime import UTC, datetime

    from morningai.api.tenants.v1 import members_pb2 as api
    from morningai.cli.duration import parse_duration

    invitation = api.Invitation(email=email, role=_number(role))
    invitation.expire_time.FromDatetime(datetime.now(UTC) + parse_duration(expires_in, option="--expires-in"))
    with invocation.gateway() as gateway:
        request = api.InviteMemberRequest(invitation=invitation)
        made = gateway.call(gateway.members.InviteMember, request, repeatable=False)
    _show_invitation(invocation.output, made)
    return ExitCode.SUCCESS


def list_invitations(invocation: Invocation) -> ExitCode:
    """List the tenant's invitations, newest first; never their tokens.

    \b
    Example:
      morningai member invitations
    """
    from datetime import UTC, datetime

    from morningai.api.tenants.v1 import members_pb2 as api
    from morningai.cli.listing import all_pages, show_listing
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock, member_role

    with invocation.gateway() as gateway:

        def fetch(size: int, token: str) -> tuple[list[Invitation], str]:
            request = api.ListInvitationsRequest(page_size=size, page_token=token)
            page = gateway.call(gateway.members.ListInvitations, request)
            return list(page.invitations), page.next_page_token

        invitations = all_pages(fetch, limit=LARGEST_LIST)
    if invocation.output.json_output:
        invocation.output.document({"invitations": [message_json(invitation) for invitation in invitations]})
        return ExitCode.SUCCESS
    now = datetime.now(UTC)
    rows = [
        (
            invitation.name.removeprefix("invitations/"),
            member_role(invitation.role),
            invitation.email,
            _state(invitation, now),
            clock(invitation.expire_time),
            invitation.creator,
        )
        for invitation in invitations
    ]
    show_listing(invocation.output, ("invitation", "role", "email", "state", "expires", "by"), rows)
    return ExitCode.SUCCESS


def revoke(
    invocation: Invocation,
    name: Annotated[str, typer.Argument(metavar="INVITATION", help="invitations/… or the part behind the slash.")],
) -> ExitCode:
    """End an invitation for good: from now on nobody becomes a member by it.

    \b
    Example:
      morningai member revoke mi_0123456789abcdef
    """
    from morningai.api.tenants.v1 import members_pb2 as api
    from morningai.cli.output import message_json
    from morningai.cli.wording import resource_name

    request = api.RevokeInvitationRequest(name=resource_name("invitations", name))
    with invocation.gateway() as gateway:
        revoked = gateway.call(gateway.members.RevokeInvitation, request)
    if invocation.output.json_output:
        invocation.output.document(message_json(revoked))
    else:
        invocation.output.line(f"{revoked.name} is revoked")
    return ExitCode.SUCCESS


def accept(
    invocation: Invocation,
    invitation: Annotated[str, typer.Argument(metavar="TOKEN", help="As `member invite` showed it.")],
) -> ExitCode:
    """Become a member. The key is a token of your identity provider (--key or MORNINGAI_API_KEY).

    \b
    Example:
      MORNINGAI_API_KEY=$(get-id-token) morningai member accept mi_0123456789abcdef.…
    """
    from morningai.api.tenants.v1 import members_pb2 as api
    from morningai.cli.output import message_json
    from morningai.cli.wording import member_role

    with invocation.gateway(tenant="-") as gateway:
        request = api.AcceptInvitationRequest(token=invitation)
        accepted = gateway.call(gateway.members.AcceptInvitation, request, repeatable=False)
    if invocation.output.json_output:
        invocation.output.document(message_json(accepted))
        return ExitCode.SUCCESS
    invocation.output.line(f"You are {member_role(accepted.role)} of {accepted.tenant_slug} ({accepted.member})")
    invocation.output.note(f"A member of several tenants names one: MORNINGAI_TENANT={accepted.tenant_slug}")
    return ExitCode.SUCCESS


def change_role(
    invocation: Invocation, name: Name, role: Annotated[Role, typer.Argument(help="At most your own.")]
) -> ExitCode:
    """Give a member another role. The last owner stays one.

    \b
    Example:
      morningai member role 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11 admin
    """
    from morningai.api.tenants.v1 import members_pb2 as api
    from morningai.cli.output import message_json
    from morningai.cli.wording import member_role, resource_name

    member = api.Member(name=resource_name("members", name), role=_number(role))
    with invocation.gateway() as gateway:
        changed = gateway.call(gateway.members.UpdateMember, api.UpdateMemberRequest(member=member))
    if invocation.output.json_output:
        invocation.output.document(message_json(changed))
    else:
        invocation.output.line(f"{changed.name} is {member_role(changed.role)}")
    return ExitCode.SUCCESS


def remove(invocation: Invocation, name: Name) -> ExitCode:
    """Remove a member: within seconds they are out. The last owner stays. Keys they made stay, see `key list`.

    \b
    Example:
      morningai member remove 0198c1de-4f7a-7cc0-9c52-0d6a4f1f7f11
    """
    from morningai.api.tenants.v1 import members_pb2 as api
    from morningai.cli.wording import resource_name

    full_name = resource_name("members", name)
    with invocation.gateway() as gateway:
        request = api.RemoveMemberRequest(name=full_name)
        gateway.call(gateway.members.RemoveMember, request, repeatable=False)
    if invocation.output.json_output:
        invocation.output.document({"name": full_name})
    else:
        invocation.output.line(f"{full_name} is removed")
    return ExitCode.SUCCESS


def _state(invitation: Invitation, now: datetime) -> str:
    from morningai.cli.wording import moment

    if invitation.HasField("revoke_time"):
        return "revoked"
    if invitation.HasField("accept_time"):
        return "accepted"
    return "open" if moment(invitation.expire_time) > now else "expired"


def _number(role: Role) -> MemberRole.ValueType:
    from morningai.api.tenants.v1 import members_pb2 as api

    return api.MemberRole.Value(f"MEMBER_ROLE_{role.upper()}")


def _show_invitation(output: Output, made: InviteMemberResponse) -> None:
    from morningai.cli.output import message_json
    from morningai.cli.wording import clock

    if output.json_output:
        output.document(message_json(made))
        return
    output.line(f"invitation  {made.token}")
    output.note(f"It is shown this once, and good for one until {clock(made.invitation.expire_time)}.")
    output.note(f"next: morningai member accept {made.token.partition('.')[0]}.…")
