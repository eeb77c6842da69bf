"""Tenants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from morningai.errors import InvalidInput

SLUG = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")
LONGEST_DISPLAY_NAME = 100


@dataclass(frozen=True)
class Tenant:
    tenant_id: UUID
    slug: str
    display_name: str
    state: str
    created_at: datetime


def check_slug(slug: str) -> str:
    if not SLUG.fullmatch(slug):
        raise InvalidInput(
            "tenant.slug",
            f"'{slug}' is not a valid name.",
            remedy="Use 3 to 40 of a-z, 0-9 and '-', starting with a letter.",
        )
    return slug


def check_page_slug(token: str) -> str:
    """Tenants are listed by slug, so the last one of a page is its token. Raises InvalidInput."""
    if token and not SLUG.fullmatch(token):
        raise InvalidInput("page_token", "is not one of ours.", remedy="Leave it empty for the first page.")
    return token


def check_display_name(display_name: str, *, slug: str) -> str:
    if len(display_name) > LONGEST_DISPLAY_NAME:
        raise InvalidInput(
            "tenant.display_name",
            f"has {len(display_name)} characters.",
            remedy=f"Use at most {LONGEST_DISPLAY_NAME}.",
        )
    if not display_name.isprintable():
        raise InvalidInput("tenant.display_name", "contains a control character.", remedy="Remove it.")
    return display_name or slug
