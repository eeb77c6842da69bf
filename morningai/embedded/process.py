"""One child process: a process group of its own, a log file, a record for the next start, an end without orphans."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from morningai.embedded import launch
from morningai.embedded.leftover import ChildRecord, end_leftover
from morningai.errors import Unavailable

log = structlog.get_logger()

LOG_LIMIT_BYTES = 5 * 1024 * 1024
_TAIL_BYTES = 16 * 1024
_LAUNCHER = Path(launch.__file__)


@dataclass(frozen=True)
class Command:
    """What to run. `environment` is the whole one, or None for ours; `ordinary_user` hides root (Linux only)."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    directory: Path | None = None
    ordinary_user: bool = False
    stop_signal: int = signal.SIGTERM
    death_signal: int = signal.SIGKILL
    grace_seconds: float = 8.0

    def launch_arguments(self) -> tuple[str, ...]:
        if not sys.platform.startswith("linux"):
            return self.arguments
        user = "ordinary" if self.ordinary_user else "same"
        prefix = (sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), str(int(self.death_signal)), user, "--")
        return (*prefix, *self.arguments)


class ChildProcess:
    def __init__(self, name: str, command: Command, *, log_path: Path, record_path: Path) -> None:
        self.name = name
        self.command = command
        self.log_path = log_path
        self.record_path = record_path
        self._process: asyncio.subprocess.Process | None = None
        self._group_may_live = False
        self._log_offset = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """End what an earlier supervisor left, then start. Raises Unavailable when the program cannot be run."""
        if self.running:
            return
        if await end_leftover(self.record_path):
            log.warning("embedded.leftover.ended", part=self.name)
        rotate_log(self.log_path)
        self._log_offset = size_of(self.log_path)
        try:
            self._process = await self._spawn()
        except OSError as error:
            program = self.command.arguments[0]
            raise Unavailable(f"{program} cannot be started: {error.strerror or error}.") from error
        self._group_may_live = True
        record = ChildRecord.of_running(self._process.pid, stop_signal=self.command.stop_signal)
        if record:
            record.write(self.record_path)

    async def _spawn(self) -> asyncio.subprocess.Process:
        descriptor = os.open(self.log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await asyncio.create_subprocess_exec(
                *self.command.launch_arguments(),
                env=self.command.environment,
                cwd=self.command.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
            )
        finally:
            os.close(descriptor)

    async def wait(self) -> str:
        """Returns when the process has ended, with how and its last log lines; ends what it left in its group."""
        if self._process is None:
            return "it was not started"
        code = await self._process.wait()
        self._end_group()
        lines = self.log_tail()
        ending = f"; the end of {self.log_path}:" if lines else f"; {self.log_path} says nothing"
        return "\n".join([describe_exit(code) + ending, *lines])

    async def stop(self) -> None:
        if self._process is None:
            return
        if self.running:
            await self._terminate(self._process)
        self._end_group()
        self.record_path.unlink(missing_ok=True)

    async def _terminate(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.command.stop_signal)
        try:
            await asyncio.wait_for(process.wait(), self.command.grace_seconds)
        except TimeoutError:
            log.warning("embedded.child.killed", part=self.name, grace_seconds=self.command.grace_seconds)
            self._kill_group(process)
            await process.wait()

    def _kill_group(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)

    def _end_group(self) -> None:
        """Once, as soon as the leader has gone: later its id may belong to somebody else."""
        if self._process is not None and self._group_may_live:
            self._group_may_live = False
            self._kill_group(self._process)

    def log_tail(self, lines: int = 12) -> list[str]:
        """The last lines that this start wrote."""
        return tail(self.log_path, lines, since=self._log_offset)


def rotate_log(path: Path, limit_bytes: int = LOG_LIMIT_BYTES) -> None:
    """Keep one older log: at each start a log over the limit becomes `<name>.log.1`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > limit_bytes:
        path.replace(path.with_name(path.name + ".1"))


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def tail(path: Path, lines: int, *, since: int = 0) -> list[str]:
    """The last lines that are not empty, of what was written after the first `since` bytes."""
    try:
        with path.open("rb") as file:
            file.seek(max(since, size_of(path) - _TAIL_BYTES))
            content = file.read().decode(errors="replace")
    except OSError:
        return []
    return list(deque((line for line in content.splitlines() if line.strip()), maxlen=lines))


def describe_exit(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"
