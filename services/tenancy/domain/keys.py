"""API keys: what a new one must be, and how it is rotated."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from morningai.errors import FailedPrecondition, InvalidInput, NotFound
from services.tenancy.domain.principals import check_held, check_scopes

KEY_ID = re.compile(r"mk_[0-9a-zA-Z_-]{1,60}")
PREFIX = "apiKeys/"
LONGEST_DISPLAY_NAME = 100
DEFAULT_OVERLAP = timedelta(hours=1)
LONGEST_OVERLAP = timedelta(days=7)
KEY_REMEDY = "`key list` shows the keys of your tenant."


@dataclass(frozen=True)
class PresentableKey:
    """A key as it is shown once: `key_id.secret`."""

    key_id: str
    secret: str

    def __str__(self) -> str:
        return f"{self.key_id}.{self.secret}"


@dataclass(frozen=True)
class NewApiKey:
    """A request that passed every check."""

    display_name: str
    scopes: tuple[str, ...]
    expires_at: datetime | None


@dataclass(frozen=True)
class ApiKey:
    key_id: str
    display_name: str
    scopes: tuple[str, ...]
    creator: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    previous_expires_at: datetime | None

    @property
    def name(self) -> str:
        return PREFIX + self.key_id


def check_new_key(
    *, display_name: str, scopes: Iterable[str], expires_at: datetime | None, held: Collection[str], now: datetime
) -> NewApiKey:
    """Raises InvalidInput, or PermissionDenied for a scope that the caller does not hold."""
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("api_key.expire_time", "is not in the future.", remedy="Use a later time, or leave it out.")
    return NewApiKey(_display_name(display_name), check_scopes(scopes, held=held), expires_at)


def check_rotation(key: ApiKey, *, held: Collection[str], now: datetime) -> None:
    """Raises FailedPrecondition for a dead key, PermissionDenied for one that may do more than the caller."""
    if key.revoked_at is not None or (key.expires_at is not None and key.expires_at <= now):
        raise FailedPrecondition(f"{key.name} is revoked or expired.", remedy="Create a new key.")
    check_held(key.scopes, held=held)


def check_overlap(overlap: timedelta | None) -> timedelta:
    """One hour when None. Raises InvalidInput."""
    if overlap is None:
        return DEFAULT_OVERLAP
    if not timedelta() <= overlap <= LONGEST_OVERLAP:
        raise InvalidInput("overlap", f"is {overlap.total_seconds():.0f} seconds.", remedy="Use 0 seconds to 7 days.")
    return overlap


def parse_key_id(name: str) -> str:
    """Raises NotFound for a name that none can have."""
    key_id = name.removeprefix(PREFIX)
    if not KEY_ID.fullmatch(key_id):
        raise NotFound("api key", name[:100], remedy=KEY_REMEDY)
    return key_id


def _display_name(display_name: str) -> str:
    text = display_name.strip()
    if not text:
        raise InvalidInput("api_key.display_name", "is empty.", remedy="Say what the key is for.")
    if len(text) > LONGEST_DISPLAY_NAME:
        raise InvalidInput(
            "api_key.display_name", f"has {len(text)} characters.", remedy=f"Use at most {LONGEST_DISPLAY_NAME}."
        )
    if not text.isprintable():
        raise InvalidInput("api_key.display_name", "contains a control character.", remedy="Remove it.")
    return text
