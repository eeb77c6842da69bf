"""Quotas: checked in the transaction that creates what is counted, so that no two transactions share the last place."""

from __future__ import annotations

from enum import StrEnum
from typing import LiteralString

from morningai.db.session import Parameters, Session
from morningai.errors import QuotaExceeded

HOLD: LiteralString = "SELECT tenancy.hold_quota(%(quota)s) AS quota"


class Quota(StrEnum):
    ACTIVE_TASKS = "active_tasks"
    SOURCES = "sources"
    STORAGE_BYTES = "storage_bytes"
    API_KEYS = "api_keys"
    OPEN_INVITATIONS = "open_invitations"


REMEDIES = {
    Quota.ACTIVE_TASKS: "Wait until a task has ended, or cancel one.",
    Quota.SOURCES: "Upload to a source that you have.",
    Quota.STORAGE_BYTES: "Upload less: fewer files, or a shorter history.",
    Quota.API_KEYS: "Revoke a key that is no longer used.",
    Quota.OPEN_INVITATIONS: "Revoke an invitation, or wait until one is accepted or expires.",
}


async def check_quota(
    session: Session, quota: Quota, count: LiteralString, parameters: Parameters | None = None
) -> None:
    """Call after the insert; `count` selects `used` with the new row in it. Raises QuotaExceeded: let it roll back."""
    held = await session.row(HOLD, {"quota": quota})
    if held is None or held["quota"] is None:
        return
    row = await session.row(count, parameters)
    used = int(row["used"]) if row else 0
    if used > held["quota"]:
        remedy = f"{REMEDIES[quota]} An operator can raise the quota."
        raise QuotaExceeded(
            quota, f"The quota {quota} is {held['quota']}, and this would make it {used}.", remedy=remedy
        )
