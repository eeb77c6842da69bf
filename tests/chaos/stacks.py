"""A patch of a service's process: at SIGUSR1 it writes what each of its asyncio tasks waits for into the evidence."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from types import FrameType

DEEPEST = 40


def install(folder: Path, service: str) -> None:
    def write(number: int, frame: FrameType | None) -> None:
        waiting = [described(task) for task in asyncio.all_tasks(asyncio.get_event_loop())]
        (folder / f"stacks-{service}-{os.getpid()}.txt").write_text("\n".join(waiting), encoding="utf-8")

    signal.signal(signal.SIGUSR1, write)


def described(task: asyncio.Task[object]) -> str:
    """The coroutines from the outermost to the one that waits; a task's own stack ends at the first."""
    lines, waits = [repr(task)[:200]], task.get_coro()
    while waits is not None and len(lines) < DEEPEST:
        frame = getattr(waits, "cr_frame", None) or getattr(waits, "gi_frame", None)
        if frame:
            lines.append(f"    {frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        waits = getattr(waits, "cr_await", None) or getattr(waits, "gi_yieldfrom", None)
    return "\n".join(lines)
