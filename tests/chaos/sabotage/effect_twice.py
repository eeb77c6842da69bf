"""Each answer is written twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def install(folder: Path, service: str) -> None:
    if service != "faqgen":
        return
    from services.faqgen import repository

    original = repository.insert_answer

    async def twice(*arguments: Any, **named: Any) -> Any:
        await original(*arguments, **named)
        return await original(*arguments, **named)

    repository.insert_answer = twice
