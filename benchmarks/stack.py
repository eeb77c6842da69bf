"""`morningai up` as a person starts it, timed from the start of the process to the line that says it is ready."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpu_seconds_of_family, parts_of

STOP_SECONDS = 60.0
UP = ("-m", "morningai.cli", "up", "--json", "--no-model", "--timings")
_SETTINGS = ("MORNINGAI_", "OPENAI_", "OTEL_", "PYTHONDONTWRITEBYTECODE")


class StackFailed(Exception):
    """`up` ended before it was ready."""


@dataclass(frozen=True)
class Stack:
    """A running platform. `cpu_seconds` is what all its processes together spent until it was ready."""

    pid: int
    gateway: str
    operator_key: str
    start_seconds: float
    cpu_seconds: float
    parts: dict[str, float]


@contextmanager
def running_stack(data_dir: Path, port: int, *, command: Sequence[str] = UP) -> Iterator[Stack]:
    """Up inside the block, without a model; stopped by Ctrl-C's signal behind it. Raises StackFailed."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, *command, "--data-dir", str(data_dir), "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env=_without_settings(),
        start_new_session=True,
    )
    try:
        yield _ready(process, began)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _ready(process: subprocess.Popen[str], began: float) -> Stack:
    assert process.stdout
    line = process.stdout.readline()
    seconds = time.monotonic() - began
    said = json.loads(line or "{}")
    if said.get("event") != "ready":
        raise StackFailed(said.get("message") or f"`morningai up` ended with {process.wait(STOP_SECONDS)}")
    everything = (pid for pids in parts_of(process.pid).values() for pid in pids)
    return Stack(
        pid=process.pid,
        gateway=said["gateway"],
        operator_key=Path(said["operator_key_file"]).read_text(encoding="utf-8").strip(),
        start_seconds=seconds,
        cpu_seconds=cpu_seconds_of_family(everything),
        parts=said["parts"],
    )


def _without_settings() -> dict[str, str]:
    """The machine's own settings would be measured instead of the defaults."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}


def packages_have_bytecode() -> bool:
    """As `make` installs them; without it each start compiles two thousand modules, or the first one does."""
    sample = importlib.util.find_spec("faststream")
    return bool(sample and sample.origin and Path(importlib.util.cache_from_source(sample.origin)).exists())
