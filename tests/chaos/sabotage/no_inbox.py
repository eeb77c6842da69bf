"""No message leaves a receipt, and each counts as new."""

from __future__ import annotations

from pathlib import Path

from morningai.bus import inbox


def install(folder: Path, service: str) -> None:
    async def receive(*_: object, **__: object) -> bool:
        return True

    if service == "gateway":
        inbox.receive = receive
