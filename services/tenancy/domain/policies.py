"""What a tenant wants a person to agree to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from morningai.errors import InvalidInput
from services.tenancy.domain.usage import LARGEST_VALUE

SHORTEST_LIFETIME_SECONDS = 60
# A task and its seals are open for thirty days.
LONGEST_LIFETIME_SECONDS = 14 * 24 * 3600
DEFAULT_LIFETIME_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class ApprovalPolicy:
    """A limit that is None does not exist."""

    publishing: bool
    tokens_per_task: int | None
    money_per_task: int | None
    self_approval: bool
    lifetime_seconds: int
    unapproved_delivery: bool = False
    set_at: datetime | None = None


def check_policy(
    *,
    publishing: bool,
    tokens_per_task: int,
    money_per_task: int,
    self_approval: bool,
    lifetime_seconds: int,
    unapproved_delivery: bool = False,
) -> ApprovalPolicy:
    """Zero is no limit, and the default lifetime. Raises InvalidInput."""
    if lifetime_seconds and not SHORTEST_LIFETIME_SECONDS <= lifetime_seconds <= LONGEST_LIFETIME_SECONDS:
        raise InvalidInput(
            "approval_policy.lifetime",
            f"is {lifetime_seconds} seconds.",
            remedy="Use a minute to 14 days, or leave it out for 7 days.",
        )
    return ApprovalPolicy(
        publishing,
        _limit("tokens_per_task", tokens_per_task),
        _limit("money_per_task", money_per_task),
        self_approval,
        lifetime_seconds or DEFAULT_LIFETIME_SECONDS,
        unapproved_delivery,
    )


def _limit(field: str, value: int) -> int | None:
    if not 0 <= value <= LARGEST_VALUE:
        raise InvalidInput(
            f"approval_policy.{field}", f"is {value}.", remedy=f"Use 1 to {LARGEST_VALUE:,}, or 0 for no limit."
        )
    return value or None
