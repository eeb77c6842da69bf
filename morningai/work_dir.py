"""The scratch folder of one replica: two processes that shared one would remove what the other works on."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from morningai.errors import FailedPrecondition


class WorkDirIsTaken(FailedPrecondition):
    reason = "WORK_DIR_IS_TAKEN"


def take_work_dir(folder: Path) -> None:
    """For the life of this process, however it ends; its children do not inherit it. Raises WorkDirIsTaken."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise WorkDirIsTaken(
            f"Another process works in {folder}.",
            remedy="Give each replica a folder of its own in MORNINGAI_WORK_DIR.",
        ) from error


def remove_scratch(folder: Path, *patterns: str) -> None:
    """Remove what a killed process left; only at start, when nothing of the service works in its folder."""
    for pattern in patterns:
        for leftover in folder.glob(pattern):
            shutil.rmtree(leftover, ignore_errors=True)
