"""Children that outlived their supervisor: a file records each child, and the next start ends what is left of it.

A process is ours only if its id and its start time both match the record, so a reused id is never signalled.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

START_TIME_TOLERANCE_SECONDS = 2.0  # the boot time, which psutil adds to it, moves when the clock is set
RECORD_SUFFIX = ".child.json"
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class ChildRecord:
    """`pid` is also the child's process group; `stop_signal` is how it is asked to end."""

    pid: int
    started_at: float
    stop_signal: int = signal.SIGTERM

    @classmethod
    def of_running(cls, pid: int, *, stop_signal: int = signal.SIGTERM) -> ChildRecord | None:
        try:
            return cls(pid=pid, started_at=psutil.Process(pid).create_time(), stop_signal=int(stop_signal))
        except psutil.Error:
            return None

    @classmethod
    def read(cls, path: Path) -> ChildRecord | None:
        try:
            content = json.loads(path.read_text())
            return cls(
                pid=int(content["pid"]),
                started_at=float(content["started_at"]),
                stop_signal=int(content["stop_signal"]),
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(self)))
        temporary.replace(path)


def _is_recorded(process: psutil.Process, record: ChildRecord) -> bool:
    return abs(process.create_time() - record.started_at) <= START_TIME_TOLERANCE_SECONDS


def _is_in_group(process: psutil.Process, record: ChildRecord) -> bool:
    return (
        os.getpgid(process.pid) == record.pid
        and process.uids().real == os.getuid()
        and process.create_time() >= record.started_at - START_TIME_TOLERANCE_SECONDS
    )


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def leader_of(record: ChildRecord) -> psutil.Process | None:
    """The recorded process itself, when it still runs."""
    try:
        process = psutil.Process(record.pid)
        return process if _is_recorded(process, record) and not _has_ended(process) else None
    except psutil.Error:
        return None


def members_of(record: ChildRecord) -> list[psutil.Process]:
    """Every live process of the child's group; nothing when its id now belongs to somebody else."""
    if psutil.pid_exists(record.pid) and leader_of(record) is None:
        return _members_behind_a_zombie(record)
    return _group_members(record)


def _members_behind_a_zombie(record: ChildRecord) -> list[psutil.Process]:
    try:
        return _group_members(record) if _is_recorded(psutil.Process(record.pid), record) else []
    except psutil.Error:
        return []


def _group_members(record: ChildRecord) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        try:
            if _is_in_group(process, record) and not _has_ended(process):
                members.append(process)
        except (psutil.Error, ProcessLookupError, PermissionError):
            continue
    return members


def send_signal(processes: Sequence[psutil.Process], signal_number: int) -> None:
    for process in processes:
        try:
            process.send_signal(signal_number)
        except psutil.Error:
            continue


async def wait_until_ended(processes: Sequence[psutil.Process], *, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while not all(_has_ended(process) for process in processes):
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def end_leftover(path: Path, *, grace_seconds: float = 8.0) -> bool:
    """End the child recorded at `path` with its whole group; true when something was still running."""
    record = ChildRecord.read(path)
    members = members_of(record) if record else []
    if record and members:
        leader = leader_of(record)
        asked = [leader] if leader else members
        send_signal(asked, record.stop_signal)
        await wait_until_ended(asked, timeout_seconds=grace_seconds)
        remaining = members_of(record)
        send_signal(remaining, signal.SIGKILL)
        await wait_until_ended(remaining, timeout_seconds=grace_seconds)
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - a small local file
    return bool(members)


async def end_leftovers(root: Path) -> list[str]:
    """End every child recorded in the folders of `root`; the names of those that still ran."""
    records = sorted(root.glob(f"*/*{RECORD_SUFFIX}"))  # noqa: ASYNC240 - four small local folders
    ended = await asyncio.gather(*(end_leftover(record) for record in records))
    return [record.name.removesuffix(RECORD_SUFFIX) for record, ran in zip(records, ended, strict=True) if ran]
