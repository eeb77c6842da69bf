"""No message leaves a receipt, and each counts as new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morningai.bus import inbox


def install(folder: Path, service: str) -> None:
    async def receive(transaction: Any, envelopes: Any, **_: object) -> Any:
        sessions = [await transaction.open_session(envelope.seal) for envelope in envelopes]
        return sessions[-1], [True for _ in envelopes]

    if service == "gateway":
        inbox.receive = receive
