"""`morningai up` as a child of the demo: started, waited for, and stopped however the demo ends."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from morningai.embedded.process import Command
from morningai.errors import FailedPrecondition, Unavailable

START_TIMEOUT_SECONDS = 240.0
STOP_TIMEOUT_SECONDS = 45.0


@dataclass(frozen=True)
class Ready:
    """What the ready line says."""

    gateway: str
    operator_key_file: Path
    engine: str
    seconds: float


class UpCommand(Protocol):
    def __call__(self, data_dir: Path, port: int, *, use_model: bool) -> Sequence[str]: ...


def up_command(data_dir: Path, port: int, *, use_model: bool) -> Sequence[str]:
    model = "--model" if use_model else "--no-model"
    command = (sys.executable, "-m", "morningai.cli", "up", "--json", model)
    return (*command, "--data-dir", str(data_dir), "--port", str(port))


@contextlib.contextmanager
def running_platform(command: Sequence[str], *, errors_file: Path) -> Iterator[Ready]:
    """Ready inside the block, stopped after it. Raises FailedPrecondition with the reason when it does not start."""
    with errors_file.open("wb") as errors:
        process = _start(command, errors.fileno())
    try:
        yield _wait_until_ready(process, _lines_of(process), errors_file)
    finally:
        _stop(process)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start(command: Sequence[str], errors: int) -> subprocess.Popen[str]:
    """In a process group of its own: Ctrl-C is the demo's to handle. On Linux it ends when the demo does."""
    arguments = Command(tuple(command), death_signal=signal.SIGTERM).launch_arguments()
    return subprocess.Popen(  # noqa: S603 - our own program
        arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, text=True, process_group=0
    )


def _lines_of(process: subprocess.Popen[str]) -> queue.Queue[str | None]:
    """The child's lines as they come, None at their end; read to the end, so that it is never kept waiting."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        with process.stdout as said:
            for line in said:
                lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="up's lines", daemon=True).start()
    return lines


def _wait_until_ready(
    process: subprocess.Popen[str],
    lines: queue.Queue[str | None],
    errors_file: Path,
) -> Ready:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            raise _not_started(f"it ended with {process.wait()}", errors_file)
        if ready := _read_event(line):
            return ready
    raise Unavailable(f"`morningai up` was not ready after {START_TIMEOUT_SECONDS:g} s.")


def _read_event(line: str) -> Ready | None:
    """None for lines that say something else. Raises FailedPrecondition for a failure."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    if event.get("event") in ("failed", "live"):
        raise FailedPrecondition(f"MorningAI did not start. {event['message']}", remedy=event.get("remedy") or "")
    if event.get("event") != "ready":
        return None
    return Ready(event["gateway"], Path(event["operator_key_file"]), event["engine"], float(event["seconds"]))


def _not_started(what: str, errors_file: Path) -> FailedPrecondition:
    said = errors_file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return FailedPrecondition(f"MorningAI did not start: {what}. {said[-1] if said else ''}".strip())


def _stop(process: subprocess.Popen[str]) -> None:
    """A second Ctrl-C does not cut this short: it is what leaves nothing behind."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        signal.signal(signal.SIGINT, before)
