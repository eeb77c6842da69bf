"""What each role may do. The service role of an API key has no row: its scopes are chosen when it is created.

The same table stands in SQL (tenancy.scopes_of_role), which is what is enforced; a test compares them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from enum import StrEnum

from morningai.errors import InvalidInput, PermissionDenied


class Role(StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"
    VIEWER = "viewer"


_VIEWER = frozenset(
    {
        *("answers.read", "changes.read", "documents.read", "faqs.read", "sources.read"),
        *("subscriptions.read", "tasks.read", "tenants.read", "usage.read"),
    }
)
_MEMBER = _VIEWER | {"sources.write", "tasks.write"}
_ADMIN = _MEMBER | {
    *("approvals.write", "audit.read", "keys.read", "keys.write", "limits.write", "members.read"),
    *("members.write", "secrets.write", "subscriptions.write"),
}
SCOPES = {
    Role.OWNER: _ADMIN | {"tenants.write"},
    Role.ADMIN: _ADMIN,
    Role.MEMBER: _MEMBER,
    Role.VIEWER: _VIEWER,
}
ALL_SCOPES = SCOPES[Role.OWNER]
SCOPES_REMEDY = f"Use some of {', '.join(sorted(ALL_SCOPES))}."


def check_scopes(scopes: Iterable[str], *, held: Collection[str]) -> tuple[str, ...]:
    """The scopes of a new key, sorted. Raises InvalidInput, or PermissionDenied for one that the caller lacks."""
    chosen = sorted(set(scopes))
    if not chosen:
        raise InvalidInput("api_key.scopes", "is empty.", remedy=SCOPES_REMEDY)
    for scope in chosen:
        if scope not in ALL_SCOPES:
            raise InvalidInput("api_key.scopes", f"{scope[:40]!r} is no scope.", remedy=SCOPES_REMEDY)
    check_held(chosen, held=held)
    return tuple(chosen)


def check_held(scopes: Iterable[str], *, held: Collection[str]) -> None:
    """Nobody gives or takes over more than they hold. Raises PermissionDenied."""
    for scope in scopes:
        if scope not in held:
            raise PermissionDenied(
                f"This needs the scope '{scope}', which you do not hold.",
                remedy="Ask an owner of the tenant.",
            )
