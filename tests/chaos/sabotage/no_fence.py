"""Workers forget to renew their leases, and whoever lost one finishes all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from morningai.bus import attempt, outbox, work

LATER_SECONDS = 14.0


def install(folder: Path, service: str) -> None:
    if service != "faqgen":
        return
    attempt.END = attempt.END.replace("AND attempt = %(attempt)s AND state = 'running'", "")
    original = work._attempt

    async def forgetful(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async def late(begin: Any, found: work.Work, *rest: Any) -> None:
        async def begun() -> Any:
            finish = await begin()
            await asyncio.sleep(LATER_SECONDS if found.attempt == 1 else 0)
            return finish

        await original(begun, found, *rest)

    async def withdraw(*_: object) -> None:
        """The timer of whoever is first may have been published."""

    work._renew_until_stopped = forgetful
    work._attempt = late
    outbox.withdraw = withdraw
