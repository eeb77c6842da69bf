"""The orchestrator takes every tenant to have agreed to every push."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any


def install(folder: Path, service: str) -> None:
    if service != "orchestrator":
        return
    from services.orchestrator import approval_rows

    original = approval_rows.get_policy

    async def get_policy(session: Any) -> Any:
        return replace(await original(session), unapproved_delivery=True)

    approval_rows.get_policy = get_policy
