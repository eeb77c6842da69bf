"""Members and invitations: what a new one must be."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from morningai.errors import InvalidInput, NotFound
from services.tenancy.domain.principals import SCOPES, Role, check_held

PREFIX = "members/"
INVITATION_PREFIX = "invitations/"
INVITATION_ID = re.compile(r"mi_[0-9a-zA-Z_-]{1,60}")
INVITATION_REMEDY = "`member invitations` shows the invitations of your tenant."
MEMBER_REMEDY = "`member list` shows the members of your tenant."
EMAIL = re.compile(r"[^\s@]{1,64}@[^\s@]{1,189}")
DEFAULT_LIFETIME = timedelta(days=7)
LONGEST_LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class Identity:
    """Whom a verified token names. The email is empty unless the provider verified it."""

    issuer: str
    subject: str
    email: str
    display_name: str
    expires_at: datetime


@dataclass(frozen=True)
class Member:
    member_id: UUID
    issuer: str
    subject: str
    email: str
    display_name: str
    role: Role
    created_at: datetime

    @property
    def name(self) -> str:
        return f"{PREFIX}{self.member_id}"


@dataclass(frozen=True)
class NewInvitation:
    """A request that passed every check."""

    email: str
    role: Role
    expires_at: datetime


@dataclass(frozen=True)
class Invitation:
    invitation_id: str
    email: str
    role: Role
    creator: str
    created_at: datetime
    expires_at: datetime
    accepted_at: datetime | None
    accepted_by: UUID | None
    revoked_at: datetime | None

    @property
    def name(self) -> str:
        return INVITATION_PREFIX + self.invitation_id


@dataclass(frozen=True)
class Acceptance:
    """What accepting an invitation made."""

    slug: str
    member_id: UUID
    role: Role


def check_invitation(
    *, email: str, role: Role, expires_at: datetime | None, held: Collection[str], now: datetime
) -> NewInvitation:
    """Raises InvalidInput, or PermissionDenied for a role above the caller's."""
    if email and not (EMAIL.fullmatch(email) and email.isprintable()):
        raise InvalidInput("invitation.email", "is no address.", remedy="Use name@host, or leave it empty.")
    expiry = expires_at or now + DEFAULT_LIFETIME
    if not now < expiry <= now + LONGEST_LIFETIME:
        raise InvalidInput("invitation.expire_time", "is not within the next 30 days.", remedy="Use an earlier time.")
    check_role_held(role, held=held)
    return NewInvitation(email, role, expiry)


def check_role_held(role: Role, *, held: Collection[str]) -> None:
    """Nobody gives or takes a role above their own. Raises PermissionDenied."""
    check_held(sorted(SCOPES[role]), held=held)


def parse_member_id(name: str) -> UUID:
    """Raises NotFound for a name that none can have."""
    try:
        return UUID(name.removeprefix(PREFIX))
    except ValueError as error:
        raise NotFound("member", name[:100], remedy=MEMBER_REMEDY) from error


def parse_invitation_id(name: str) -> str:
    """Raises NotFound for a name that none can have."""
    invitation_id = name.removeprefix(INVITATION_PREFIX)
    if not INVITATION_ID.fullmatch(invitation_id):
        raise NotFound("invitation", name[:100], remedy=INVITATION_REMEDY)
    return invitation_id
