"""Rows of members and invitations; functions of PostgreSQL write them, and look at the caller's scopes again."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import psycopg
from psycopg.rows import DictRow

from morningai.db.queries import load_queries
from morningai.db.quotas import Quota, check_quota
from morningai.db.session import Database, Session
from morningai.errors import AlreadyExists, FailedPrecondition, NotFound, PermissionDenied
from services.tenancy.domain.keys import PresentableKey
from services.tenancy.domain.members import (
    INVITATION_PREFIX,
    INVITATION_REMEDY,
    MEMBER_REMEDY,
    PREFIX,
    Acceptance,
    Identity,
    Invitation,
    Member,
    NewInvitation,
)
from services.tenancy.domain.pages import Page
from services.tenancy.domain.principals import Role
from services.tenancy.repository.pages import page_parameters

QUERIES = load_queries(__file__)


async def invite_member(session: Session, new: NewInvitation, token: PresentableKey) -> Invitation:
    """Raises PermissionDenied when PostgreSQL finds that the caller may not, QuotaExceeded for one too many."""
    parameters: dict[str, object] = {"invitation_id": token.key_id, "secret": token.secret, **vars(new)}
    try:
        await session.execute(QUERIES["invite_member"], parameters)
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionDenied("Nobody invites to a role above their own.") from error
    await check_quota(session, Quota.OPEN_INVITATIONS, QUERIES["count_open_invitations"])
    return await get_invitation(session, token.key_id)


async def get_invitation(session: Session, invitation_id: str) -> Invitation:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_invitation"], {"invitation_id": invitation_id})
    if row is None:
        raise _no_invitation(invitation_id)
    return _invitation(row)


async def list_invitations(session: Session, page: Page) -> list[Invitation]:
    """One more than the page holds, if there is one."""
    return [_invitation(row) for row in await session.rows(QUERIES["list_invitations"], page_parameters(page))]


async def revoke_invitation(session: Session, invitation_id: str) -> Invitation:
    """Raises NotFound, PermissionDenied for a role above the caller's, FailedPrecondition for an accepted one."""
    try:
        row = await session.row(QUERIES["revoke_invitation"], {"invitation_id": invitation_id})
    except psycopg.errors.ObjectNotInPrerequisiteState as error:
        raise FailedPrecondition(
            f"{INVITATION_PREFIX}{invitation_id} was accepted.", remedy="Remove the member: `member remove`."
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise _above_their_own() from error
    if row is None or not row["found"]:
        raise _no_invitation(invitation_id)
    return await get_invitation(session, invitation_id)


async def accept_invitation(session: Session, token: str) -> Acceptance | None:
    """None when the token is not valid for the session's identity. Raises AlreadyExists for a member."""
    try:
        row = await session.row(QUERIES["accept_invitation"], {"token": token})
    except psycopg.errors.UniqueViolation as error:
        raise AlreadyExists("member", "you", remedy="You are a member of that tenant already.") from error
    return Acceptance(row["slug"], row["member_id"], Role(row["role"])) if row else None


async def update_member(session: Session, member_id: UUID, role: Role) -> Member:
    """Raises NotFound, PermissionDenied for a role above the caller's, FailedPrecondition for the last owner."""
    await _change(session, member_id, role)
    return await get_member(session, member_id)


async def remove_member(session: Session, member_id: UUID) -> None:
    """Raises as update_member does."""
    await _change(session, member_id, None)


async def get_member(session: Session, member_id: UUID) -> Member:
    """Raises NotFound."""
    row = await session.row(QUERIES["get_member"], {"member_id": member_id})
    if row is None:
        raise _not_found(member_id)
    return _member(row)


async def list_members(session: Session, page: Page) -> list[Member]:
    """One more than the page holds, if there is one."""
    return [_member(row) for row in await session.rows(QUERIES["list_members"], page_parameters(page))]


async def exchange_identity(
    database: Database, identity: Identity, *, slug: str | None, lifetime: timedelta
) -> list[tuple[str, str]]:
    """The slugs of the identity's active tenants, each with a grant if there is one alone, else with ''."""
    parameters = {**_parameters(identity), "slug": slug, "lifetime": lifetime}
    async with database.connection() as connection:
        rows = await (await connection.execute(QUERIES["exchange_identity"], parameters)).fetchall()
    return [(row["slug"], row["minted"] or "") for row in rows]


async def prove_identity(database: Database, identity: Identity, *, lifetime: timedelta) -> str:
    """A grant outside all tenants, for accepting an invitation."""
    async with database.connection() as connection:
        cursor = await connection.execute(QUERIES["prove_identity"], {**_parameters(identity), "lifetime": lifetime})
        row = await cursor.fetchone()
    assert row is not None
    return str(row["minted"])


async def _change(session: Session, member_id: UUID, role: Role | None) -> None:
    try:
        row = await session.row(QUERIES["change_member"], {"member_id": member_id, "role": role})
    except psycopg.errors.RestrictViolation as error:
        raise FailedPrecondition(
            f"{PREFIX}{member_id} is the last owner.", remedy="Make somebody else an owner first."
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise _above_their_own() from error
    if row is None or not row["found"]:
        raise _not_found(member_id)


def _parameters(identity: Identity) -> dict[str, object]:
    return {
        "issuer": identity.issuer,
        "subject": identity.subject,
        "email": identity.email,
        "display_name": identity.display_name,
    }


def _above_their_own() -> PermissionDenied:
    return PermissionDenied("Nobody gives or takes a role above their own.", remedy="Ask an owner of the tenant.")


def _no_invitation(invitation_id: str) -> NotFound:
    return NotFound("invitation", f"{INVITATION_PREFIX}{invitation_id}", remedy=INVITATION_REMEDY)


def _not_found(member_id: UUID) -> NotFound:
    return NotFound("member", f"{PREFIX}{member_id}", remedy=MEMBER_REMEDY)


def _member(row: DictRow) -> Member:
    return Member(**{**row, "role": Role(row["role"])})


def _invitation(row: DictRow) -> Invitation:
    return Invitation(**{**row, "role": Role(row["role"])})
