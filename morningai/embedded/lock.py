"""One live MorningAI per data folder: a file lock that ends with its holder, however the holder ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from morningai.errors import FailedPrecondition


class DataDirIsLive(FailedPrecondition):
    """Another process runs on this data folder; `holder_pid` is None when it could not be read."""

    reason = "DATA_DIR_IS_LIVE"

    def __init__(self, folder: Path, holder_pid: int | None) -> None:
        holder = f"process {holder_pid}" if holder_pid else "another process"
        super().__init__(
            f"MorningAI is already running on {folder}, started by {holder}.",
            remedy="Use it as it is, stop it with Ctrl-C there, or name another folder with --data-dir.",
        )
        self.folder = folder
        self.holder_pid = holder_pid


@contextlib.contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Held inside the block. Children do not inherit it. Raises DataDirIsLive when somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataDirIsLive(path.parent, _read_pid(descriptor)) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def _read_pid(descriptor: int) -> int | None:
    text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdigit() else None
