"""MemberService."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from morningai.api.tenants.v1 import members_pb2 as api
from morningai.api.tenants.v1 import members_pb2_grpc
from morningai.db.session import Database
from morningai.errors import InvalidInput, NotFound
from morningai.rpc.call import Context, rpc_session
from morningai.rpc.time import moment, timestamp
from services.tenancy.domain.keys import PresentableKey
from services.tenancy.domain.members import (
    INVITATION_ID,
    Invitation,
    Member,
    check_invitation,
    check_role_held,
    parse_invitation_id,
    parse_member_id,
)
from services.tenancy.domain.pages import Place, check_page
from services.tenancy.domain.principals import Role
from services.tenancy.repository import members as repository

TOKEN = re.compile(r"mi_[0-9a-f]{16}\.[0-9a-zA-Z_-]{1,100}")
MEMBER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ROLES = {api.MemberRole.Value(f"MEMBER_ROLE_{role.upper()}"): role for role in Role}
NUMBERS = {role: number for number, role in ROLES.items()}


class MemberServicer(members_pb2_grpc.MemberServiceServicer):
    def __init__(self, database: Database) -> None:
        self._database = database

    async def InviteMember(self, request: api.InviteMemberRequest, context: Context) -> api.InviteMemberResponse:
        given = request.invitation
        role = _role(given.role, field="invitation.role")
        expires = moment(given.expire_time, field="invitation.expire_time") if given.HasField("expire_time") else None
        token = PresentableKey(f"mi_{secrets.token_hex(8)}", secrets.token_urlsafe(32))
        async with rpc_session(self._database) as session:
            new = check_invitation(
                email=given.email, role=role, expires_at=expires, held=session.scopes, now=datetime.now(UTC)
            )
            made = await repository.invite_member(session, new, token)
        return api.InviteMemberResponse(invitation=_invitation(made), token=str(token))

    async def ListInvitations(
        self, request: api.ListInvitationsRequest, context: Context
    ) -> api.ListInvitationsResponse:
        page = check_page(request.page_size, request.page_token, id_form=INVITATION_ID)
        async with rpc_session(self._database) as session:
            found = await repository.list_invitations(session, page)
        last = found[page.size - 1] if len(found) > page.size else None
        return api.ListInvitationsResponse(
            invitations=[_invitation(invitation) for invitation in found[: page.size]],
            next_page_token=Place(last.created_at, last.invitation_id).token() if last else "",
        )

    async def RevokeInvitation(self, request: api.RevokeInvitationRequest, context: Context) -> api.Invitation:
        async with rpc_session(self._database) as session:
            return _invitation(await repository.revoke_invitation(session, parse_invitation_id(request.name)))

    async def AcceptInvitation(
        self, request: api.AcceptInvitationRequest, context: Context
    ) -> api.AcceptInvitationResponse:
        async with rpc_session(self._database) as session:
            valid = TOKEN.fullmatch(request.token)
            accepted = await repository.accept_invitation(session, request.token) if valid else None
        if accepted is None:
            raise NotFound(
                "invitation", request.token.partition(".")[0][:40], remedy="Ask for a new one, to your own address."
            )
        return api.AcceptInvitationResponse(
            tenant_slug=accepted.slug, member=f"members/{accepted.member_id}", role=NUMBERS[accepted.role]
        )

    async def ListMembers(self, request: api.ListMembersRequest, context: Context) -> api.ListMembersResponse:
        page = check_page(request.page_size, request.page_token, id_form=MEMBER_ID)
        async with rpc_session(self._database) as session:
            found = await repository.list_members(session, page)
        last = found[page.size - 1] if len(found) > page.size else None
        return api.ListMembersResponse(
            members=[_message(member) for member in found[: page.size]],
            next_page_token=Place(last.created_at, str(last.member_id)).token() if last else "",
        )

    async def UpdateMember(self, request: api.UpdateMemberRequest, context: Context) -> api.Member:
        role = _role(request.member.role, field="member.role")
        member_id = parse_member_id(request.member.name)
        async with rpc_session(self._database) as session:
            check_role_held(role, held=session.scopes)
            return _message(await repository.update_member(session, member_id, role))

    async def RemoveMember(self, request: api.RemoveMemberRequest, context: Context) -> api.RemoveMemberResponse:
        async with rpc_session(self._database) as session:
            await repository.remove_member(session, parse_member_id(request.name))
        return api.RemoveMemberResponse()


def _role(number: int, *, field: str) -> Role:
    """Raises InvalidInput."""
    role = ROLES.get(number)  # type: ignore[call-overload]  # a number that is no role is what it is asked about
    if role is None:
        raise InvalidInput(field, "is no role.", remedy="Use owner, admin, member or viewer.")
    return Role(role)


def _message(member: Member) -> api.Member:
    return api.Member(
        name=member.name,
        issuer=member.issuer,
        subject=member.subject,
        email=member.email,
        display_name=member.display_name,
        role=NUMBERS[member.role],
        create_time=timestamp(member.created_at),
    )


def _invitation(invitation: Invitation) -> api.Invitation:
    return api.Invitation(
        name=invitation.name,
        email=invitation.email,
        role=NUMBERS[invitation.role],
        expire_time=timestamp(invitation.expires_at),
        creator=invitation.creator,
        create_time=timestamp(invitation.created_at),
        accept_time=timestamp(invitation.accepted_at) if invitation.accepted_at else None,
        member=f"members/{invitation.accepted_by}" if invitation.accepted_by else "",
        revoke_time=timestamp(invitation.revoked_at) if invitation.revoked_at else None,
    )
