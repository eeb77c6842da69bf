"""`morningai up`: one embedded MorningAI from the lock on its data folder to the last child's end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import structlog
from rich.console import Console

from morningai.embedded.data_dir import DataDir, write_private_json
from morningai.embedded.display import Display, make_display, print_summary, timings_table
from morningai.embedded.leftover import end_leftovers
from morningai.embedded.lock import DataDirIsLive, exclusive_lock
from morningai.embedded.part import PartFailed
from morningai.embedded.plan import Kernel, Plan, make_plan
from morningai.embedded.process import rotate_log
from morningai.embedded.supervisor import Supervisor
from morningai.errors import InvalidInput, MorningAIError

EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_LIVE = 3
HOST = "127.0.0.1"
DEFAULT_PORT = 50051


@dataclass(frozen=True)
class UpOptions:
    """`local_model` false means the extractive engine, whatever the environment names."""

    data_dir: Path | None = None
    port: int = DEFAULT_PORT
    json_output: bool = False
    timings: bool = False
    local_model: bool = True


async def up(options: UpOptions, kernel: Kernel | None = None) -> int:
    """Runs until SIGINT or SIGTERM. 0 stopped as asked, 1 a part failed, 3 the data folder is live."""
    began = time.monotonic()
    voice = _Voice(options)
    try:
        data_dir = DataDir.at(options.data_dir)
        with exclusive_lock(data_dir.lock_file):
            return await _Run(options, data_dir, voice, began).go(kernel)
    except DataDirIsLive as live:
        voice.failed("live", live, pid=live.holder_pid)
        return EXIT_LIVE
    except MorningAIError as error:
        voice.failed("failed", error, part=error.part if isinstance(error, PartFailed) else None)
        return EXIT_FAILED


class _Voice:
    """Says things to a person, or as one line of JSON each to a program."""

    def __init__(self, options: UpOptions) -> None:
        self._json = options.json_output
        self.console = Console(stderr=options.json_output)

    def display(self) -> Display:
        return make_display(self.console, quiet=self._json)

    def line(self, event: str, fields: dict[str, object]) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()

    def failed(self, event: str, error: MorningAIError, **fields: str | int | None) -> None:
        if self._json:
            self.line(event, {"reason": error.reason, "message": error.message, "remedy": error.remedy, **fields})
        else:
            self.console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)

    def ready(self, run: dict[str, object], plan: Plan) -> None:
        if self._json:
            self.line("ready", run)
            return
        rows = [
            ("gateway", str(run["gateway"])),
            ("bus", f"{plan.bus} (for subscribers, with a tenant's key)"),
            ("database", plan.database),
            ("data folder", str(run["data_dir"])),
            ("logs", str(run["logs"])),
            ("engine", f"{plan.engine} ({plan.engine_note})"),
            ("operator key", str(run["operator_key_file"])),
            ("next", "morningai tenant create NAME"),
        ]
        self.console.print()
        print_summary(self.console, rows)
        self.console.print("\nRunning. Ctrl-C stops everything.", style="dim")

    def timings(self, seconds: dict[str, float], total_seconds: float) -> None:
        if not self._json:
            self.console.print(timings_table(seconds, total_seconds))


class _Run:
    def __init__(self, options: UpOptions, data_dir: DataDir, voice: _Voice, began: float) -> None:
        self._options = options
        self._data_dir = data_dir
        self._voice = voice
        self._began = began

    async def go(self, kernel: Kernel | None) -> int:
        """The lock is held: whatever an earlier run left is nobody's."""
        data_dir = self._data_dir
        data_dir.services_file.unlink(missing_ok=True)
        await end_leftovers(data_dir.root)
        _require_free(self._options.port)
        gateway = f"{HOST}:{self._options.port}"
        plan = make_plan(
            data_dir, kernel or Kernel.real(), gateway_address=gateway, local_model=self._options.local_model
        )
        display = self._voice.display()
        supervisor = Supervisor(plan.parts, display)
        with _log_to(data_dir.log_file("up")), _stop_on_signals(supervisor):
            await self._supervise(supervisor, plan, display, gateway)
        return EXIT_STOPPED

    async def _supervise(self, supervisor: Supervisor, plan: Plan, display: Display, gateway: str) -> None:
        try:
            if await supervisor.start():
                display.settle()
                self._announce(supervisor, plan, gateway)
                await supervisor.wait_until_stopped()
        finally:
            display.settle()
            self._data_dir.services_file.unlink(missing_ok=True)
            await supervisor.stop()
            display.settle()

    def _announce(self, supervisor: Supervisor, plan: Plan, gateway: str) -> None:
        total = time.monotonic() - self._began
        state: dict[str, object] = {
            "pid": os.getpid(),
            "gateway": gateway,
            "bus": plan.bus,
            "data_dir": str(self._data_dir.root),
            "logs": str(self._data_dir.logs),
            "operator_key_file": str(self._data_dir.operator_key_file),
            "engine": plan.engine,
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(total, 3),
            "parts": {name: round(value, 3) for name, value in supervisor.seconds.items()},
        }
        write_private_json(self._data_dir.services_file, state)
        self._voice.ready(state, plan)
        if self._options.timings:
            self._voice.timings(supervisor.seconds, total)


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InvalidInput(
                "port", f"{HOST}:{port} cannot be used: {reason}.", remedy="Name another one with --port."
            ) from error


@contextlib.contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """The terminal is the display's, and standard output the program's that reads our JSON."""
    before = structlog.get_config()
    rotate_log(path)
    with path.open("a", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
            logger_factory=structlog.WriteLoggerFactory(file),
        )
        try:
            yield
        finally:
            structlog.configure(**before)


@contextlib.contextmanager
def _stop_on_signals(supervisor: Supervisor) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, supervisor.request_stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
