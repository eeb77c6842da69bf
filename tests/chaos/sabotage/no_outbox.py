"""The orchestrator ends tasks and writes no message of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from morningai.bus import outbox

# The tasks that index the sources have to end.
OF_AN_ANSWER_ALONE = 6


def install(folder: Path, service: str) -> None:
    original = outbox.emit

    async def emit(session: Any, message: Any, **named: Any) -> UUID:
        if type(message).__name__ == "TaskSucceeded" and message.event.sequence > OF_AN_ANSWER_ALONE:
            return uuid4()
        return await original(session, message, **named)

    if service == "orchestrator":
        outbox.emit = emit
