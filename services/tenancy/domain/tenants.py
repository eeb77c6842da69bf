"""Tenants and their keys."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from morningai.errors import InvalidInput

SLUG = re.compile(r"[a-z][a-z0-9-]{1,38}[a-z0-9]")
LONGEST_DISPLAY_NAME = 100

# What the first key of a tenant may do: everything inside its tenant.
OWNER_SCOPES = (
    "tasks.read",
    "tasks.write",
    "sources.read",
    "sources.write",
    "documents.read",
    "answers.read",
    "faqs.read",
    "changes.read",
    "tenants.read",
    "usage.read",
    "limits.write",
)


@dataclass(frozen=True)
class Tenant:
    tenant_id: UUID
    slug: str
    display_name: str
    create_time: datetime


@dataclass(frozen=True)
class NewKey:
    """A key as it is shown once: `key_id.secret`."""

    key_id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.key_id}.{self.secret}"


def check_slug(slug: str) -> str:
    if not SLUG.fullmatch(slug):
        raise InvalidInput(
            "tenant.slug",
            f"'{slug}' is not a valid name.",
            remedy="Use 3 to 40 of a-z, 0-9 and '-', starting with a letter.",
        )
    return slug


def check_display_name(display_name: str, *, slug: str) -> str:
    if len(display_name) > LONGEST_DISPLAY_NAME:
        raise InvalidInput(
            "tenant.display_name",
            f"has {len(display_name)} characters.",
            remedy=f"Use at most {LONGEST_DISPLAY_NAME}.",
        )
    if "\x00" in display_name:
        raise InvalidInput("tenant.display_name", "contains a NUL character.", remedy="Remove it.")
    return display_name or slug
